#!/usr/bin/env bash
# Installs the parity reference beside the project: protenix 2.0.0, whose modules the network's are
# compared with, into a folder of its own. Nothing of the Python environment changes.
#
#     tests/protenix/install.sh [FOLDER]          (default: build/protenix_reference in the checkout)
#
# The tests and benchmarks take the folder from ATMOS_PROTENIX, and look in the default one otherwise.
# PYTHON names the interpreter whose pip is used (python by default); it is the one to test with.
#
# Without its dependencies, since the package pins a torch and GPU libraries of its own; torch, numpy,
# scipy and rdkit are the project's. Of the rest only optree is imported by the modules. The wheel
# also brings top-level packages with names of a project's own folders, which are removed.
set -euo pipefail

version=2.0.0
optree=0.20.0
python=${PYTHON:-python}
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
if (($# > 1)); then
    echo "usage: $0 [FOLDER]" >&2
    exit 2
fi
folder=${1:-$checkout/build/protenix_reference}

if [[ -d $folder/protenix-$version.dist-info && -d $folder/protenix/model && -d $folder/optree ]]; then
    echo "protenix $version is in $folder already."
    exit 0
fi
if [[ -e $folder && -n $(ls -A "$folder" 2>/dev/null) ]]; then
    echo "$folder holds something else than protenix $version with optree. Remove it, or name" \
        "another folder: $0 FOLDER" >&2
    exit 1
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "'$python' has no pip. Activate the environment that the project is installed in, or name" \
        "its interpreter: PYTHON=.../bin/python $0" >&2
    exit 1
fi

# Made under another name and moved into place, so that an interrupted run leaves nothing half done.
mkdir -p "$(dirname "$folder")"
partial=$(mktemp -d "$folder.partial.XXXXXX")
trap 'rm -rf "$partial"' EXIT
if ! "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$partial" \
    "protenix==$version" "optree==$optree"; then
    echo "pip could not install protenix==$version and optree==$optree (its messages are above)." \
        "Both come from the package index that pip is configured with: see that it can be reached," \
        "then run this again. Without the reference the parity tests skip." >&2
    exit 1
fi
rm -rf "$partial"/{tests,configs,runner,scripts,bin}
chmod 755 "$partial"
[[ ! -d $folder ]] || rmdir "$folder"
mv "$partial" "$folder"
echo "Installed protenix $version in $folder"
echo "export ATMOS_PROTENIX=$folder"
