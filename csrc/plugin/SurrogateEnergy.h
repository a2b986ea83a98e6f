#ifndef ATMOS_SURROGATEENERGY_H_
#define ATMOS_SURROGATEENERGY_H_

#include "PairRows.h"
#include "SurrogateTerms.h"
#include "TorsionParameters.h"
#include "openmm/Vec3.h"
#include <array>
#include <memory>
#include <string>
#include <vector>

namespace AtmosPlugin {

/**
 * A fast approximation of a System's energy in single precision and without forces.  It is correct up to what torsions
 * do not change where SurrogateTerms knows every force, and no part of what is exact depends on it: all that has to
 * hold is that it is a function of the positions (and the box), whatever way led to them.
 */
class SurrogateEnergy {
public:
    virtual ~SurrogateEnergy() = default;
    /**
     * Take positions as the present ones.
     *
     * @param positions   all positions (in nm)
     * @param box         the periodic box, where there is one
     * @return their energy (in kJ/mol)
     * @throws OpenMMException if there are not as many positions as particles, or one in a box is not finite
     */
    virtual double begin(const std::vector<OpenMM::Vec3>& positions, const BoxVectors& box) = 0;
    /**
     * Get the energy (in kJ/mol) of other positions.
     *
     * @param positions   all positions (in nm), which differ from the present ones by torsions alone
     * @param changed     these torsions
     */
    virtual double propose(const std::vector<OpenMM::Vec3>& positions, const std::vector<int>& changed) = 0;
    /** Take the positions that propose() was called with last as the present ones. */
    virtual void accept() = 0;
    /** Get the names of the forces that may change with torsions and are left out or simplified. */
    const std::vector<std::string>& getUnknownForces() const { return unknown; }

protected:
    explicit SurrogateEnergy(const SurrogateTerms& terms) : numAtoms(terms.numAtoms), unknown(terms.unknown) {}
    void checkSize(const std::vector<OpenMM::Vec3>& positions) const;
    int numAtoms;

private:
    std::vector<std::string> unknown;
};

/** The groups of particles that torsions turn, and their axes. */
struct TurningGroups {
    explicit TurningGroups(const TorsionParameters& parameters);
    /** Get the numbers of those terms that turning a group can change. */
    std::vector<int> findChanged(size_t group, const std::vector<BondedTerm>& terms, int numAtoms) const;
    /** Get those terms that turning any group can change. */
    std::vector<BondedTerm> selectChanged(const std::vector<BondedTerm>& terms, int numAtoms) const;

    std::vector<std::vector<int>> atoms;
    std::vector<std::array<int, 2>> axes;
};

/**
 * Make the surrogate of a System: SoluteSurrogate, or PeriodicSurrogate where its NonbondedForce is periodic.
 *
 * @param system       the System
 * @param parameters   the torsions that are turned
 * @param groups       the force groups that count, as bits
 * @throws OpenMMException if the torsions name particles that the System does not have
 */
std::unique_ptr<SurrogateEnergy> makeSurrogate(const OpenMM::System& system, const TorsionParameters& parameters, int groups);

} // namespace AtmosPlugin

#endif // ATMOS_SURROGATEENERGY_H_
