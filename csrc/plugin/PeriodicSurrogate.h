#ifndef ATMOS_PERIODICSURROGATE_H_
#define ATMOS_PERIODICSURROGATE_H_

#include "PairRows.h"
#include "SurrogateEnergy.h"

namespace AtmosPlugin {

/**
 * Molecules among others in a periodic box.  What a trial costs depends on the atoms that it moves, on those within the
 * cutoff around each and on all that ever turn, not on the box.
 *
 * The energy is that of the atoms that any torsion turns: with atoms that never turn, which stay where they are in a
 * series, by a sum for each; and among each other.
 */
class PeriodicSurrogate : public SurrogateEnergy {
public:
    PeriodicSurrogate(const SurrogateTerms& terms, const TurningGroups& groups);
    double begin(const std::vector<OpenMM::Vec3>& positions, const BoxVectors& box) override;
    double propose(const std::vector<OpenMM::Vec3>& positions, const std::vector<int>& changed) override;
    void accept() override;

private:
    /** A pair with parameters of its own; the other atom is one of those that turn, or one that never does. */
    struct Partner {
        int atom;
        bool turns;
        double chargeProduct, plainProduct, sigma, epsilon;
    };
    double partnerEnergy(const OpenMM::Vec3& position, const Partner& partner, const OpenMM::Vec3& other) const;
    double energyWithFixed(int member, const OpenMM::Vec3& position);
    double energyOfMoved(const std::vector<OpenMM::Vec3>& places);
    PairRule rule;
    double cutoff, linear, square, shift;
    bool isEwald, exceptionsAreNearest;
    BoxVectors box;
    std::vector<PairParameters> parameters;
    // The atoms that turn, of each its place among these (or -1), its partners, and those of them that never turn.
    std::vector<int> turning, memberOf, fixed;
    std::vector<std::vector<Partner>> partners;
    std::vector<std::vector<int>> fixedPartners;
    FixedAtoms surroundings;
    PairAtoms members;
    std::vector<bool> isShown;
    // Present positions of all, and energies: of each that turns with the fixed ones, of each term, and the sum.
    std::vector<OpenMM::Vec3> present;
    std::vector<double> withFixed, ofTerm;
    double energy = 0;
    // Of each group, its members and the terms that it changes.
    std::vector<std::vector<int>> membersOf, termsOf;
    std::vector<BondedTerm> bonded;
    // What is proposed: members that move, where they go, and energies.
    std::vector<int> moved, changedTerms;
    std::vector<OpenMM::Vec3> places;
    std::vector<double> newWithFixed, newOfTerm;
    double newEnergy = 0;
};

} // namespace AtmosPlugin

#endif // ATMOS_PERIODICSURROGATE_H_
