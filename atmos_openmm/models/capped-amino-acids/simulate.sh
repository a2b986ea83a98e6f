#!/bin/sh
# The trajectories from which the bundled model is trained and judged: temperature replica exchange
# of capped amino acids ACE-X-NME in implicit solvent (amber14-all + implicit/gbn2).
#
#   sh simulate.sh OUTPUT_FOLDER [RESIDUE ...]      default: the 16 types for training
#   JOBS=2 sh simulate.sh data                      two molecules at a time, one thread each
#   sh simulate.sh data held-out                    VAL TYR GLN CYS and the long ALA reference
#
# A run that was stopped goes on when the same line is given again. VAL, TYR, GLN and CYS were set
# aside before any training; they serve for evaluation alone.
set -eu

out=${1:?usage: simulate.sh OUTPUT_FOLDER [held-out | RESIDUE ...]}
shift
ATMOS=${ATMOS:-atmos-openmm}
JOBS=${JOBS:-1}
training="ALA GLY PRO SER THR ASP ASN LEU ILE GLU MET PHE HIE LYS ARG TRP"
held_out="VAL CYS GLN TYR"
if [ $# -eq 0 ]; then set -- $training; fi
if [ "$1" = held-out ]; then set -- $held_out ALA-reference; fi
mkdir -p "$out"

one() {
    case $1 in
    ALA-reference) residue=ALA file=reference_ace_ala_nme seed=2001 burn=16 length=70 ;;
    VAL | CYS | GLN | TYR) residue=$1 file= burn=10 length=24 ;;
    # The six largest were made shorter, for want of time.
    MET | PHE | HIE | LYS | ARG | TRP) residue=$1 file= burn=8 length=16 ;;
    *) residue=$1 file= burn=12 length=30 ;;
    esac
    # One seed a type: 1001 to 1020 in alphabetical order of the names.
    if [ -z "$file" ]; then
        file=remd_ace_$(echo "$residue" | tr '[:upper:]' '[:lower:]')_nme
        n=0
        for name in ALA ARG ASN ASP CYS GLN GLU GLY HIE ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL
        do
            n=$((n + 1))
            if [ "$name" = "$residue" ]; then seed=$((1000 + n)); fi
        done
    fi
    $ATMOS simulate --sequence "ACE-$residue-NME" --out "$out/$file.h5" --mode exchange \
        --temperatures 300,360,432,520 --copies 16 --interval-ps 0.5 --exchange-interval-ps 0.5 \
        --hot-ps 4 --burn-in-ps $burn --length-ps $length --seed $seed --threads 1 \
        --starts beta,alphaR,ppII,alphaL,beta,alphaR,ppII,ppII
}

if [ "$JOBS" -eq 1 ] || [ $# -eq 1 ]; then
    for residue in "$@"; do one "$residue"; done
else
    printf '%s\n' "$@" | JOBS=1 xargs -P "$JOBS" -n 1 sh "$0" "$out"
fi
