# pybind11: BSD-3-Clause, >= 2.13; from the package index (a build requirement in pyproject.toml), not copied here.
find_package(Python 3.11 REQUIRED COMPONENTS Interpreter Development.Module)
execute_process(COMMAND ${Python_EXECUTABLE} -m pybind11 --cmakedir
                OUTPUT_VARIABLE pybind11_ROOT OUTPUT_STRIP_TRAILING_WHITESPACE)
find_package(pybind11 2.13 REQUIRED CONFIG)
