#pragma once
// Owning memory, zeroed, 64-byte aligned (a cache line; enough for every vector width). From 2 MiB on it is a map of its
// own: on a 2 MiB boundary, asking for huge pages, and costing nothing until it is touched.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace kvtape::base {

template <class T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;

 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(std::size_t n) : size_(n) { allocate(n); }
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    AlignedBuffer taken(std::move(other));
    swap(taken);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { release(); }

  [[nodiscard]] T* data() noexcept { return data_; }
  [[nodiscard]] const T* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] T& operator[](std::size_t i) noexcept { return data_[i]; }
  [[nodiscard]] const T& operator[](std::size_t i) const noexcept { return data_[i]; }

  // Makes room for n elements; contents are lost when it grows.
  void reserve_discard(std::size_t n) {
    if (n > size_) *this = AlignedBuffer(n);
  }

 private:
  void swap(AlignedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(map_, other.map_);
    std::swap(map_bytes_, other.map_bytes_);
  }

  void allocate(std::size_t n) {
    if (n > (~std::size_t{0} - 2 * kHugePage) / sizeof(T)) throw std::bad_alloc();
    if (n == 0) return;
#if defined(__linux__)
    if (n * sizeof(T) >= kHugePage) {
      map_bytes_ = n * sizeof(T) + kHugePage;
      map_ = mmap(nullptr, map_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (map_ == MAP_FAILED) {
        map_ = nullptr;
        throw std::bad_alloc();
      }
      const auto address = (reinterpret_cast<std::uintptr_t>(map_) + kHugePage - 1) / kHugePage * kHugePage;
      (void)madvise(reinterpret_cast<void*>(address), n * sizeof(T),
                    MADV_HUGEPAGE);  // a hint; refusal costs only speed
      data_ = reinterpret_cast<T*>(address);
      return;
    }
#endif
    const std::size_t n_bytes = (n * sizeof(T) + 63) / 64 * 64;
    void* p = std::aligned_alloc(64, n_bytes);
    if (p == nullptr) throw std::bad_alloc();
    std::memset(p, 0, n_bytes);
    data_ = static_cast<T*>(p);
  }

  void release() noexcept {
#if defined(__linux__)
    if (map_ != nullptr) {
      munmap(map_, map_bytes_);
      return;
    }
#endif
    std::free(data_);
  }

  T* data_ = nullptr;
  std::size_t size_ = 0;
  void* map_ = nullptr;  // the whole map behind data_, where it is one
  std::size_t map_bytes_ = 0;
};

}  // namespace kvtape::base
