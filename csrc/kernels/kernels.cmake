# The list of kernels: folder, op, and the instruction sets that have a file for it.
kvtape_kernel(norm rms_norm ref avx2 neon)
kvtape_kernel(rope rope ref avx2 neon)
kvtape_kernel(activation silu_mul ref avx2 avx512 neon)
kvtape_kernel(activation gelu_mul ref avx2 avx512 neon)
kvtape_kernel(activation softcap ref avx2 neon)
kvtape_kernel(linear quantize_rows ref avx2 avx512 neon)
kvtape_kernel(linear matmul_q8_0 ref avx2 avx512 neon)
kvtape_kernel(linear matmul_q4 ref avx2 avx512 neon)
kvtape_kernel(linear matmul_q5 ref avx2 avx512 neon)
kvtape_kernel(linear matmul_q4_k ref avx2 avx512 neon)
kvtape_kernel(linear matmul_q6_k ref avx2 avx512 neon)
kvtape_kernel(linear matmul_float ref avx2 avx512 neon)
kvtape_kernel(attention attend ref avx2 avx512 neon)
kvtape_kernel(attention fold_states ref avx2 neon)
kvtape_kernel(attention write_kv ref avx2 neon)
kvtape_kernel(sampling run_max ref avx2 neon)
kvtape_kernel(sampling exp_weights ref avx2 neon)
kvtape_kernel(sampling select_at_least ref avx2 neon)

# GCC 12 reassociates the integer sums of these two and runs out of registers: without the flags they take 1.5 (Q4) and
# 1.1 (Q8_0) times as long.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND avx2 IN_LIST KVTAPE_ISAS)
  set_property(SOURCE csrc/kernels/linear/matmul_q8_0_avx2.cpp csrc/kernels/linear/matmul_q4_avx2.cpp
               csrc/kernels/linear/matmul_q5_avx2.cpp csrc/kernels/linear/matmul_q4_k_avx2.cpp
               csrc/kernels/linear/matmul_q6_k_avx2.cpp
               APPEND PROPERTY COMPILE_OPTIONS -fno-tree-reassoc -fno-tree-ter)
endif()
