# The list of kernels: folder, op, and the instruction sets that have a file for it.
kvtape_kernel(norm rms_norm ref avx2)
kvtape_kernel(rope rope ref avx2)
kvtape_kernel(activation silu_mul ref avx2)
kvtape_kernel(linear quantize_rows ref avx2)
kvtape_kernel(linear matmul_q8_0 ref avx2)
kvtape_kernel(linear matmul_q4 ref avx2)
kvtape_kernel(linear matmul_float ref avx2)
