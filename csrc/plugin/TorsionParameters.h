#ifndef ATMOS_TORSIONPARAMETERS_H_
#define ATMOS_TORSIONPARAMETERS_H_

#include <cstddef>
#include <vector>

namespace AtmosPlugin {

/**
 * The torsions that exact jumps move and the density that they are drawn from, as flat lists.
 * Particles are numbered as in the System, torsions and blocks from 0; angles are in radians.
 * docs/architecture.md, "Exact jumps", defines the density.
 */
struct TorsionParameters {
    /** Four particles a torsion: a, b, c, d.  The side of d turns about the bond from b to c. */
    std::vector<int> torsionAtoms;
    /** How many particles turn with each torsion. */
    std::vector<int> groupSizes;
    /** The particles that turn, one torsion after the other: d among them, but not a, b and c. */
    std::vector<int> groupAtoms;
    /** 1 for each torsion of a backbone (phi, psi), else 0. */
    std::vector<int> torsionBackbone;
    /** The number of torsions in each block; the torsions of a block stand together, blocks in order. */
    std::vector<int> blockSizes;
    /** The block before each block in its chain, or -1. */
    std::vector<int> blockPrevious;
    /** The weight of the uniform part of every block's density, from 0 to 1. */
    double uniformWeight = 0.02;
    /** The number K of components in each block's mixture; 0 without a local component is a uniform density. */
    std::vector<int> componentCounts;
    /** 1 for each block with a local component, whose mean is the block's present torsions, else 0. */
    std::vector<int> hasLocal;
    /** The means: K*d numbers a block of d torsions. */
    std::vector<double> means;
    /** The covariances: K*d*d numbers a block. */
    std::vector<double> covariances;
    /** The covariance of the local component: d*d numbers for each block that has one. */
    std::vector<double> localCovariances;
    /** The number G of gates of each block. */
    std::vector<int> gateCounts;
    /** The torsions outside the block that its weights depend on: G numbers a block. */
    std::vector<int> gateTorsions;
    /**
     * The weights where blocks are drawn in turn: (K, and one more for a local component)*(1 + 2G) numbers a
     * block, each row an offset and, for each gate, the coefficients of its cosine and its sine.
     */
    std::vector<double> sequentialGates;
    /** The same where torsions are drawn with all others given. */
    std::vector<double> conditionalGates;

    /**
     * Check that the lists fit together and that the density is one.
     *
     * @throws OpenMMException that says which list is wrong
     */
    void validate() const;
    /** Get the number of torsions. */
    int getNumTorsions() const { return static_cast<int>(torsionAtoms.size() / 4); }
};

} // namespace AtmosPlugin

#endif // ATMOS_TORSIONPARAMETERS_H_
