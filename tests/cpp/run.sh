#!/usr/bin/env bash
# Builds the C++ tests with warnings as errors and runs them: tests/cpp/run.sh BUILD_FOLDER
# Needs cmake 3.20, ninja and a python that has openmm on the PATH.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
build=${1:?"usage: tests/cpp/run.sh BUILD_FOLDER"}
openmm=$(python -c 'import importlib.util, pathlib
print(pathlib.Path(importlib.util.find_spec("openmm").origin).parents[1] / "OpenMM.libs")')
cmake -S "$here" -B "$build" -G Ninja -DATMOS_OPENMM_DIR="$openmm" -DATMOS_WERROR=ON
cmake --build "$build" --parallel "${ATMOS_BUILD_JOBS:-$(nproc)}"
ctest --test-dir "$build" --output-on-failure
