#pragma once
// Strict array arguments: right dtype and C order or a TypeError, never a silent copy. A shape error names the argument.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <span>
#include <string>

#include "base/error.h"

namespace kvtape::bindings {

template <class T>
using Array = pybind11::array_t<T, pybind11::array::c_style>;

// Checks the number of dimensions; a dimension given as -1 is free.
template <class T>
void require_shape(const Array<T>& array, const char* name, std::initializer_list<pybind11::ssize_t> wanted) {
  bool same = static_cast<std::size_t>(array.ndim()) == wanted.size();
  pybind11::ssize_t axis = 0;
  for (auto size : wanted) {
    if (same && size >= 0 && array.shape(axis) != size) same = false;
    ++axis;
  }
  if (same) return;
  auto words = [](auto begin, auto end) {
    std::string text = "[";
    for (auto it = begin; it != end; ++it) text += (it == begin ? "" : ", ") + (*it < 0 ? "n" : std::to_string(*it));
    return text + "]";
  };
  throw base::Error(base::ErrorCode::invalid_argument, std::string(name) + ": shape " +
                                                           words(array.shape(), array.shape() + array.ndim()) +
                                                           ", wanted " + words(wanted.begin(), wanted.end()));
}

template <class T>
std::span<const T> view(const Array<T>& array) {
  return {array.data(), static_cast<std::size_t>(array.size())};
}

template <class T>
std::span<T> mutable_view(Array<T>& array) {  // throws where the array is read-only
  return {array.mutable_data(), static_cast<std::size_t>(array.size())};
}

}  // namespace kvtape::bindings
