#ifndef ATMOS_SURROGATETERMS_H_
#define ATMOS_SURROGATETERMS_H_

#include "openmm/System.h"
#include <array>
#include <string>
#include <vector>

namespace AtmosPlugin {

/**
 * The part of a System's potential energy that a surrogate knows: pairs of a NonbondedForce that is not periodic (a
 * cutoff is left out), periodic and Ryckaert-Bellemans torsions, and the generalised Born models of OpenMM's GBSAOBCForce and of the CustomGBForces
 * that its force fields and readers of AMBER files make (HCT, OBC1, OBC2, GBn, GBn2).
 */
struct SurrogateTerms {
    /** A sum over periods n of a cos(n phi) + b sin(n phi) (in kJ/mol), n = 1 ... 6. */
    struct Torsion {
        std::array<int, 4> atoms;
        std::array<double, 6> cosines = {}, sines = {};
    };
    /** What generalised Born models know of an atom (in nm); the effective radius is a function of an integral. */
    struct Sphere {
        double charge = 0, radius = 0, offsetRadius = 0, scaledRadius = 0;
        /** alpha, beta and gamma of the model; HCT has none. */
        std::array<double, 3> curve = {};
        int type = 0;
    };
    /**
     * Read what is known of a System.
     *
     * @param system   the System
     * @param groups   the force groups that count, as bits
     */
    SurrogateTerms(const OpenMM::System& system, int groups);

    int numAtoms;
    /** Of pairs i < j in order of i, then j: charge product, sigma and epsilon; exceptions are in. */
    std::vector<double> chargeProduct, sigma, epsilon;
    std::vector<Torsion> torsions;
    /** Empty without a generalised Born model. */
    std::vector<Sphere> spheres;
    bool hasCurve = false, hasNeck = false;
    /** 1 / eps_solute - 1 / eps_solvent. */
    double polarity = 0;
    /** Of the surface term (in kJ/mol/nm^2), and of the neck. */
    double surfaceEnergy = 0, neckScale = 0;
    /** The neck's height and place, by the types of two atoms; numTypes squared. */
    std::vector<double> neckHeight, neckPlace;
    int numTypes = 0;
    /** Whether pairs are known. */
    bool hasPairs = false;
    /**
     * The forces that may change with torsions and are left out or simplified, by name: also those with a cutoff,
     * with salt (kappa), or with parameters that global ones offset.
     */
    std::vector<std::string> unknown;
};

} // namespace AtmosPlugin

#endif // ATMOS_SURROGATETERMS_H_
