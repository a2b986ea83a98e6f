#ifndef ATMOS_BONDEDTERM_H_
#define ATMOS_BONDEDTERM_H_

#include "openmm/Vec3.h"
#include <array>
#include <memory>
#include <vector>

namespace AtmosPlugin {

/** A map of two torsions' energy (in kJ/mol), with bicubic splines between its points, as OpenMM's CMAPTorsionForce has it. */
class TorsionMap {
public:
    /**
     * @param size     the number of points along each torsion, from 0 on
     * @param energy   the energies, size squared of them; those of the first torsion run fastest
     */
    TorsionMap(int size, const std::vector<double>& energy);
    double evaluate(double first, double second) const;

private:
    size_t size;
    std::vector<std::vector<double>> coefficients;
};

/** A term of the energy of a few atoms. */
struct BondedTerm {
    enum class Kind {
        /** A sum over periods n of a cos(n phi) + b sin(n phi), n = 1 ... 6. */
        Torsion,
        /** Two torsions, of atoms 0 to 3 and 4 to 7. */
        Map,
        /** k (d - d0)^2 / 2 of the distance of two atoms, or of the angle of three. */
        Bond,
        Angle
    };
    /** Add the energy (in kJ/mol) to a sum. */
    void addTo(double& energy, const std::vector<OpenMM::Vec3>& positions) const;

    Kind kind = Kind::Torsion;
    std::vector<int> atoms;
    std::array<double, 6> cosines = {}, sines = {};
    std::shared_ptr<const TorsionMap> map = nullptr;
    double rest = 0, stiffness = 0;
};

} // namespace AtmosPlugin

#endif // ATMOS_BONDEDTERM_H_
