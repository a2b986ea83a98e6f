#!/bin/sh
# Trajectories for the bundled model: capped amino acids ACE-X-NME in implicit solvent
# (amber14-all + implicit/gbn2).
#
#   sh simulate.sh OUTPUT_FOLDER                    replica exchange of the types for training
#   JOBS=2 sh simulate.sh data                      two molecules at a time, one thread each
#   sh simulate.sh data RESIDUE ...                 some types only, in this order
#   sh simulate.sh data held-out                    VAL CYS GLN TYR and a longer run of ALA
#   sh simulate.sh data dynamics                    plain 300 K dynamics of all 20 types
#
# A run that was stopped goes on when the same line is given again. VAL, TYR, GLN and CYS were set
# aside before any training; they serve for evaluation alone. Which of these files a model saw is in
# its card. The 300 K dynamics behind the bundled model was ready-made with the settings that
# `dynamics` has (0.5 ns from each of four basins, a frame each ps), and was converted to
# this layout; its seeds are not known.
set -eu

out=${1:?usage: simulate.sh OUTPUT_FOLDER [held-out | dynamics | RESIDUE ...]}
shift
ATMOS=${ATMOS:-atmos-openmm}
JOBS=${JOBS:-1}
training="ALA GLY PRO SER THR ASP ASN LEU ILE GLU MET PHE HIE LYS ARG TRP"
held_out="VAL CYS GLN TYR"
if [ $# -eq 0 ]; then set -- $training; fi
if [ "$1" = held-out ]; then set -- $held_out ALA-reference; fi
if [ "$1" = dynamics ]; then
    shift
    for residue in $training $held_out; do set -- "$@" "$residue-dynamics"; done
fi
mkdir -p "$out"

# One seed a type: 1001 to 1020 in alphabetical order of the names.
seed_of() {
    n=1000
    for name in ALA ARG ASN ASP CYS GLN GLU GLY HIE ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL; do
        n=$((n + 1))
        if [ "$name" = "$1" ]; then echo $n; fi
    done
}

one() {
    residue=${1%-*}
    seed=$(seed_of "$residue")
    stem=ace_$(echo "$residue" | tr '[:upper:]' '[:lower:]')_nme
    file=remd_$stem
    case $1 in
    *-dynamics)
        $ATMOS simulate --sequence "ACE-$residue-NME" --out "$out/$stem.h5" --mode dynamics \
            --temperatures 300 --copies 4 --starts beta,alphaR,alphaL,ppII --burn-in-ps 0 \
            --length-ps 500 --interval-ps 1 --seed "$seed" --threads 1
        return ;;
    ALA-reference) file=reference_$stem seed=2001 burn=16 length=70 ;;
    VAL | CYS | GLN | TYR) burn=10 length=24 ;;
    # The six largest were made shorter, for want of time.
    MET | PHE | HIE | LYS | ARG | TRP) burn=8 length=16 ;;
    *) burn=12 length=30 ;;
    esac
    $ATMOS simulate --sequence "ACE-$residue-NME" --out "$out/$file.h5" --mode exchange \
        --temperatures 300,360,432,520 --copies 16 --interval-ps 0.5 --exchange-interval-ps 0.5 \
        --hot-ps 4 --burn-in-ps $burn --length-ps $length --seed "$seed" --threads 1 \
        --starts beta,alphaR,ppII,alphaL,beta,alphaR,ppII,ppII
}

if [ "$JOBS" -eq 1 ] || [ $# -eq 1 ]; then
    for type in "$@"; do one "$type"; done
else
    printf '%s\n' "$@" | JOBS=1 xargs -P "$JOBS" -n 1 sh "$0" "$out"
fi
