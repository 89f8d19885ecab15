# The list of kernels: folder, op, and the instruction sets that have a file for it.
