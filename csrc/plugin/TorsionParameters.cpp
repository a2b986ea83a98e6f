#include "TorsionParameters.h"

#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// Farther than 9 standard deviations lie less than 3e-18 of a normal distribution, and images beyond the
// nearest two are at least 3 pi away.
static const double MAX_DEVIATION = 0.69;

[[noreturn]] static void refuse(const string& what) {
    throw OpenMMException("AtmosIntegrator: the torsion moves " + what);
}

static void requireCount(const char* list, size_t found, size_t expected) {
    if (found != expected) {
        stringstream message;
        message << "have " << found << " " << list << ", expected " << expected;
        refuse(message.str());
    }
}

static void requireRange(const char* list, const vector<int>& values, int low, int high) {
    for (int value : values)
        if (value < low || value > high) {
            stringstream message;
            message << "have the value " << value << " among their " << list << ", but each must be from " << low << " to " << high;
            refuse(message.str());
        }
}

static void requireFinite(const char* list, const vector<double>& values) {
    if (!all_of(values.begin(), values.end(), [](double value) { return isfinite(value); }))
        refuse(string("have a number that is not finite among their ") + list);
}

static void checkGroups(const TorsionParameters& p) {
    size_t next = 0;
    for (int k = 0; k < p.getNumTorsions(); k++) {
        const int* atoms = &p.torsionAtoms[4 * static_cast<size_t>(k)];
        const auto first = p.groupAtoms.begin() + static_cast<ptrdiff_t>(next);
        const auto last = first + p.groupSizes[k];
        next += static_cast<size_t>(p.groupSizes[k]);
        const auto turns = [&](int atom) { return find(first, last, atom) != last; };
        if (!turns(atoms[3]) || turns(atoms[0]) || turns(atoms[1]) || turns(atoms[2])) {
            stringstream message;
            message << "turn a wrong group with torsion " << k << ": it must hold the last atom " << atoms[3] << " and not the others "
                    << atoms[0] << ", " << atoms[1] << ", " << atoms[2];
            refuse(message.str());
        }
    }
}

/** Check one covariance matrix: symmetric, narrow enough and positive definite. */
static void checkCovariance(const double* matrix, int size, int block) {
    stringstream message;
    message << "have a covariance in block " << block;
    for (int i = 0; i < size; i++) {
        const double variance = matrix[i * size + i];
        if (!(variance > 0 && sqrt(variance) <= MAX_DEVIATION)) {
            message << " with the standard deviation " << sqrt(variance) << ", but it must be positive and at most " << MAX_DEVIATION
                    << " rad (broader parts belong in the uniform one)";
            refuse(message.str());
        }
        for (int j = 0; j < i; j++)
            if (fabs(matrix[i * size + j] - matrix[j * size + i]) > 1e-12)
                refuse(message.str() + " that is not symmetric");
    }
}

void TorsionParameters::validate() const {
    const int numTorsions = getNumTorsions();
    const size_t numBlocks = blockSizes.size();
    if (torsionAtoms.size() % 4 != 0)
        requireCount("particles in their torsions", torsionAtoms.size(), 4 * (torsionAtoms.size() / 4 + 1));
    if (numTorsions == 0)
        refuse("have no torsions: this molecule has none to turn");

    // The torsions.

    requireCount("sizes of groups", groupSizes.size(), static_cast<size_t>(numTorsions));
    requireRange("sizes of groups", groupSizes, 1, static_cast<int>(groupAtoms.size()));
    requireCount("particles in their groups", groupAtoms.size(), static_cast<size_t>(accumulate(groupSizes.begin(), groupSizes.end(), 0)));
    requireCount("marks of backbones", torsionBackbone.size(), static_cast<size_t>(numTorsions));
    requireRange("marks of backbones", torsionBackbone, 0, 1);
    checkGroups(*this);

    // The blocks.

    requireRange("sizes of blocks", blockSizes, 1, numTorsions);
    requireCount("torsions in their blocks", static_cast<size_t>(accumulate(blockSizes.begin(), blockSizes.end(), 0)),
                 static_cast<size_t>(numTorsions));
    requireCount("previous blocks", blockPrevious.size(), numBlocks);
    requireRange("previous blocks", blockPrevious, -1, static_cast<int>(numBlocks) - 1);
    for (size_t b = 0; b < numBlocks; b++)
        if (blockPrevious[b] >= static_cast<int>(b))
            refuse("have a block whose previous block does not come before it");
    requireCount("numbers of components", componentCounts.size(), numBlocks);
    for (int count : componentCounts)
        if (count < 0)
            refuse("have a negative number of components");
    requireCount("marks of local components", hasLocal.size(), numBlocks);
    requireRange("marks of local components", hasLocal, 0, 1);
    requireCount("numbers of gates", gateCounts.size(), numBlocks);
    requireRange("numbers of gates", gateCounts, 0, numTorsions);
    requireCount("gates", gateTorsions.size(), static_cast<size_t>(accumulate(gateCounts.begin(), gateCounts.end(), 0)));
    requireRange("gates", gateTorsions, 0, numTorsions - 1);

    // The density.

    if (!(uniformWeight >= 0 && uniformWeight <= 1)) {
        stringstream message;
        message << "have the uniform weight " << uniformWeight << ", but it must be from 0 to 1";
        refuse(message.str());
    }
    size_t numMeans = 0, numCovariances = 0, numLocal = 0, numWeights = 0;
    for (size_t b = 0; b < numBlocks; b++) {
        const size_t d = static_cast<size_t>(blockSizes[b]), K = static_cast<size_t>(componentCounts[b]);
        numMeans += K * d;
        numCovariances += K * d * d;
        numLocal += hasLocal[b] * d * d;
        numWeights += (K + hasLocal[b]) * (1 + 2 * static_cast<size_t>(gateCounts[b]));
    }
    requireCount("numbers in their means", means.size(), numMeans);
    requireCount("numbers in their covariances", covariances.size(), numCovariances);
    requireCount("numbers in their local covariances", localCovariances.size(), numLocal);
    requireCount("numbers in their sequential gates", sequentialGates.size(), numWeights);
    requireCount("numbers in their conditional gates", conditionalGates.size(), numWeights);
    requireFinite("means", means);
    requireFinite("sequential gates", sequentialGates);
    requireFinite("conditional gates", conditionalGates);
    const double *covariance = covariances.data(), *local = localCovariances.data(), *weights = sequentialGates.data();
    const int* gates = gateTorsions.data();
    int start = 0;
    for (size_t b = 0; b < numBlocks; b++) {
        const int d = blockSizes[b];
        for (int k = 0; k < componentCounts[b]; k++, covariance += d * d)
            checkCovariance(covariance, d, static_cast<int>(b));
        if (hasLocal[b]) {
            checkCovariance(local, d, static_cast<int>(b));
            local += d * d;
        }
        for (int g = 0; g < gateCounts[b]; g++) {
            if (gates[g] >= start && gates[g] < start + d)
                refuse("have a gate inside its own block");
            for (int row = 0; row < componentCounts[b] + hasLocal[b]; row++) {
                const double* entry = weights + row * (1 + 2 * gateCounts[b]) + 1 + 2 * g;
                if (gates[g] > start && (entry[0] != 0 || entry[1] != 0))
                    refuse("have a sequential gate in a later block, which is not drawn yet when it is needed");
            }
        }
        weights += (componentCounts[b] + hasLocal[b]) * (1 + 2 * gateCounts[b]);
        gates += gateCounts[b];
        start += d;
    }
}

} // namespace AtmosPlugin
