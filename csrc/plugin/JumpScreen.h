#ifndef ATMOS_JUMPSCREEN_H_
#define ATMOS_JUMPSCREEN_H_

#include "Proposal.h"
#include "openmm/Vec3.h"
#include <vector>

namespace AtmosPlugin {

/**
 * What a new frame is compared with.  Atoms are numbered as the model numbers them, from 0; lengths
 * are in nm.  An empty list switches its check off.  docs/architecture.md, "Screen", defines each.
 */
struct ScreenParameters {
    /** Every covalent bond among the model's atoms: i0, j0, i1, j1, ... */
    std::vector<int> bonds;
    /** The reference length of each bond (in nm). */
    std::vector<double> bondLengths;
    /** How far a bond may be from its reference length (in nm). */
    double bondTolerance = 0.05;
    /** Four atoms a centre: the centre, then three of its neighbours. */
    std::vector<int> chiralCenters;
    /** +1 or -1 a centre: the sign of the triple product of the right-handed molecule. */
    std::vector<double> chiralSigns;
    /** Four atoms a torsion that has to stay cis, or trans, as it is in the frame before the jump. */
    std::vector<int> cisTrans;
    /** The number of atoms in each ring. */
    std::vector<int> ringSizes;
    /** The atoms of the rings in the order of their bonds, one ring after the other. */
    std::vector<int> ringAtoms;
    /** Bondi's radius of each atom of the model (in nm). */
    std::vector<double> radii;
    /** Two atoms more than three bonds apart clash below this share of the sum of their radii. */
    double clashFactor = 0.5;
    /** How far the module may move the centroid (in nm). */
    double maxDisplacement = 1.0;
    /** How near an atom of the model may come to a particle outside the model (in nm). */
    double environmentDistance = 0.12;
    /** How far a constrained distance may be off before constraints are applied (in nm). */
    double constraintTolerance = 0.05;
    /** The number of atoms in each fragment; without fragments all of the model's atoms move. */
    std::vector<int> fragmentSizes;
    /** The atoms that move, one fragment after the other; all others stay where they are. */
    std::vector<int> fragmentAtoms;
    /** The number of anchors of each fragment: unmoved atoms by which a frame is superposed to place it. */
    std::vector<int> anchorSizes;
    /** The anchors, those of one fragment after the other. */
    std::vector<int> anchorAtoms;

    /**
     * Check that the lists fit together and that every atom number is in range.
     *
     * @param numAtoms   the number of atoms of the model
     * @throws OpenMMException that says which list is wrong
     */
    void validate(int numAtoms) const;
};

/**
 * The geometry checks on a new frame of the model's atoms.  The object is built once for a bound
 * module; the checks have no state.
 */
class JumpScreen {
public:
    /**
     * Prepare the checks.
     *
     * @param parameters   what to check; validated here
     * @param numAtoms     the number of atoms of the model
     */
    JumpScreen(const ScreenParameters& parameters, int numAtoms);
    /**
     * Put a module's frame in the place of the old one: as a whole, or fragment by fragment with all else left as it was.
     *
     * @param frame    what the module answered (in nm)
     * @param before   the positions before the jump (in nm)
     */
    std::vector<OpenMM::Vec3> place(const std::vector<OpenMM::Vec3>& frame, const std::vector<OpenMM::Vec3>& before) const;
    /** Decide whether an atom of the model moves at all. */
    bool moves(int atom) const;
    /** Decide whether only parts of the model's atoms move. */
    bool hasFragments() const { return !parameters.fragmentSizes.empty(); }
    /**
     * Check bonds, chirality, cis and trans, rings and clashes, in this order.
     *
     * @param before   the positions before the jump (in nm)
     * @param after    the new positions (in nm)
     * @return the first check that failed, or Reason::Accepted
     */
    Reason checkGeometry(const std::vector<OpenMM::Vec3>& before, const std::vector<OpenMM::Vec3>& after) const;
    /**
     * Check only what no force field restores, chirality and cis and trans, as is done again after a
     * relaxation.
     *
     * @param before   the positions before the jump (in nm)
     * @param after    the new positions (in nm)
     * @return the first check that failed, or Reason::Accepted
     */
    Reason checkStereochemistry(const std::vector<OpenMM::Vec3>& before, const std::vector<OpenMM::Vec3>& after) const;
    /**
     * Check that no atom of the model is too near to a particle outside.
     *
     * @param after         the new positions of the model's atoms (in nm)
     * @param environment   the positions of the particles with mass outside the model (in nm)
     * @param box           the three periodic box vectors in reduced form (in nm), or NULL when the
     *                      system is not periodic
     * @return Reason::Environment or Reason::Accepted
     */
    Reason checkEnvironment(const std::vector<OpenMM::Vec3>& after, const std::vector<OpenMM::Vec3>& environment,
                            const OpenMM::Vec3* box) const;

private:
    bool bondsHold(const std::vector<OpenMM::Vec3>& x) const;
    bool chiralityHolds(const std::vector<OpenMM::Vec3>& x) const;
    bool cisTransHolds(const std::vector<OpenMM::Vec3>& before, const std::vector<OpenMM::Vec3>& after) const;
    bool ringsAreFree(const std::vector<OpenMM::Vec3>& x) const;
    bool isFreeOfClashes(const std::vector<OpenMM::Vec3>& x) const;
    ScreenParameters parameters;
    int numAtoms;
    std::vector<std::vector<int>> rings;
    // For each atom, in increasing order, the atoms with a higher number at most three bonds away.
    std::vector<std::vector<int>> nearAtoms;
};

} // namespace AtmosPlugin

#endif // ATMOS_JUMPSCREEN_H_
