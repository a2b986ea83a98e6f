// Torsions, densities and chains of particles for the tests of moves.
#ifndef ATMOS_TESTS_TORSION_CASES_H_
#define ATMOS_TESTS_TORSION_CASES_H_

#include "TorsionParameters.h"
#include "openmm/Vec3.h"
#include <cmath>
#include <vector>

namespace AtmosTests {

/** A zigzag chain of particles, bent out of its plane. */
inline std::vector<OpenMM::Vec3> chain(int atoms) {
    std::vector<OpenMM::Vec3> positions;
    for (int i = 0; i < atoms; i++)
        positions.emplace_back(0.12 * i, 0.05 * (i % 2) + 0.01 * i * i, 0.03 * std::sin(1.7 * i));
    return positions;
}

/** The torsions of a chain: two blocks of two and one torsions; the first of each is of the backbone. */
inline AtmosPlugin::TorsionParameters twoBlocks() {
    AtmosPlugin::TorsionParameters p;
    for (int k = 0; k < 3; k++) {
        for (int i = 0; i < 4; i++)
            p.torsionAtoms.push_back(k + i);
        p.groupSizes.push_back(3 - k);
        for (int atom = k + 3; atom < 6; atom++)
            p.groupAtoms.push_back(atom);
    }
    p.torsionBackbone = {1, 0, 1};
    p.blockSizes = {2, 1};
    p.blockPrevious = {-1, 0};
    p.uniformWeight = 0.1;
    p.componentCounts = {2, 1};
    p.hasLocal = {1, 0};
    p.means = {3.0, -2.9, -1.0, 0.5, 2.0};
    p.covariances = {0.30, 0.12, 0.12, 0.25, 0.10, -0.05, -0.05, 0.40, 0.45};
    p.localCovariances = {0.06, 0.01, 0.01, 0.04};
    p.gateCounts = {1, 1};
    p.gateTorsions = {2, 1};
    p.sequentialGates = {0.3, 0, 0, -0.2, 0, 0, 0.1, 0, 0, 0.7, 0.4, -0.3};
    p.conditionalGates = {0.3, 0.5, -0.4, -0.2, -0.6, 0.2, 0.1, 0.2, 0.3, 0.7, -0.5, 0.8};
    return p;
}

} // namespace AtmosTests

#endif // ATMOS_TESTS_TORSION_CASES_H_
