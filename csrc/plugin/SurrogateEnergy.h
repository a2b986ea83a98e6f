#ifndef ATMOS_SURROGATEENERGY_H_
#define ATMOS_SURROGATEENERGY_H_

#include "SurrogateTerms.h"
#include "TorsionParameters.h"
#include "openmm/Vec3.h"
#include <memory>
#include <vector>

namespace AtmosPlugin {

/**
 * A fast approximation of the energy of a small molecule, in single precision and without forces.  It is correct up to
 * a constant of the torsions where SurrogateTerms knows every force, and no part of what is exact depends on it.
 */
class SurrogateEnergy {
public:
    /**
     * @param terms    what is known of the System
     * @param groups   the groups of particles that turn together, and the axis of each: only torsions that they change
     *                 are evaluated
     * @param axes     the two particles of each group's axis
     */
    SurrogateEnergy(SurrogateTerms terms, const std::vector<std::vector<int>>& groups, const std::vector<std::array<int, 2>>& axes);
    /** Get the energy (in kJ/mol) of positions (in nm). */
    double evaluate(const std::vector<OpenMM::Vec3>& positions);
    /** Get the names of the forces that may change with torsions and are left out or simplified. */
    const std::vector<std::string>& getUnknownForces() const;

private:
    double torsionEnergy(const std::vector<OpenMM::Vec3>& positions) const;
    void fillPairs(const SurrogateTerms& terms);
    void fillSpheres(const SurrogateTerms& terms);
    int numAtoms, width;
    std::vector<std::string> unknown;
    std::vector<SurrogateTerms::Torsion> torsions;
    std::vector<SurrogateTerms::Sphere> spheres;
    bool hasCurve, hasNeck;
    double polarity, surfaceEnergy;
    // Rows of `width` columns; pairs stand once, where the column is larger than the row, and zeros elsewhere.
    std::vector<float> coulomb, repulsion, attraction, born;
    // Of all pairs but an atom and itself: 1, and the neck of the column's sphere in the row's.
    std::vector<float> others, neckHeight, neckPlace;
    std::vector<float> x, y, z, radii, scaledRadii, effective;
};

/**
 * Make the surrogate of a System.
 *
 * @param system       the System
 * @param parameters   the torsions that are turned
 * @param groups       the force groups that count, as bits
 * @throws OpenMMException if the torsions name particles that the System does not have
 */
std::unique_ptr<SurrogateEnergy> makeSurrogate(const OpenMM::System& system, const TorsionParameters& parameters, int groups);

} // namespace AtmosPlugin

#endif // ATMOS_SURROGATEENERGY_H_
