#!/bin/sh
# How the bundled model was trained.
#
#   sh train.sh DYNAMICS_FOLDER EXCHANGE_FOLDER OUTPUT_FOLDER
#
# DYNAMICS_FOLDER holds ace_<residue>_nme.h5 (300 K, four starts of 0.5 ns a type; see README.md),
# EXCHANGE_FOLDER remd_ace_<residue>_nme.h5 (simulate.sh). VAL, TYR, GLN and CYS are not read.
#
# The network was changed while the training ran, so that each phase belongs to a commit and starts
# from the averaged weights of the phase before. To repeat it to the letter, run each phase at its
# commit with PHASE=1, 2, 3, and stop the first two after the steps given. Later versions have
# another command line; README.md says how to train the like with it.
set -eu
dynamics=${1:?usage: train.sh DYNAMICS_FOLDER EXCHANGE_FOLDER OUTPUT_FOLDER}
exchange=${2:?usage: train.sh DYNAMICS_FOLDER EXCHANGE_FOLDER OUTPUT_FOLDER}
out=${3:?usage: train.sh DYNAMICS_FOLDER EXCHANGE_FOLDER OUTPUT_FOLDER}
phase=${PHASE:-3}

# Replica exchange that was ready when each phase began.
case $phase in
1) with_exchange="ala asn asp glu gly ile leu pro ser thr" ;;
2) with_exchange="ala asn asp glu gly ile leu pro ser thr met phe" ;;
*) with_exchange="ala asn asp glu gly ile leu pro ser thr met phe hie" ;;
esac
files=""
for residue in ala arg asn asp glu gly hie ile leu lys met phe pro ser thr trp; do
    files="$files $dynamics/ace_${residue}_nme.h5"
    case " $with_exchange " in
    *" $residue "*) files="$files $exchange/remd_ace_${residue}_nme.h5" ;;
    esac
done

case $phase in
1) # Commit 2b10e21; stopped after step 1515.
    options="--steps 5200 --seed 11" ;;
2) # Commit e514512; stopped after step 1193.
    options="--steps 3200 --seed 12 --ema-decay 0.998 --initial-weights $out/phase1" ;;
3) # Commit dea1929.
    options="--steps 1800 --seed 13 --ema-decay 0.997 --validate-every 300"
    if [ -d "$out/phase2" ]; then options="$options --initial-weights $out/phase2"; fi ;;
*) echo "PHASE is $phase; expected 1, 2 or 3" >&2; exit 2 ;;
esac
# shellcheck disable=SC2086
exec atmos-openmm train $files --output "$out/phase$phase" --rollouts 8 --levels 4 $options
