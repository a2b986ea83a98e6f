#ifndef ATMOS_SURROGATETERMS_H_
#define ATMOS_SURROGATETERMS_H_

#include "BondedTerm.h"
#include "openmm/System.h"
#include <array>
#include <string>
#include <vector>

namespace AtmosPlugin {

/**
 * The part of a System's potential energy that a surrogate knows: pairs of a NonbondedForce (without its cutoff where it
 * is not periodic, and a shifted force for Ewald's sums where it is), periodic and Ryckaert-Bellemans torsions, maps of
 * torsions (CMAP), harmonic bonds and angles (between atoms that torsions move apart, as restraints do), and, without a periodic box, the generalised Born models of OpenMM's GBSAOBCForce and of the CustomGBForces that its force
 * fields and readers of AMBER files make (HCT, OBC1, OBC2, GBn, GBn2).
 */
struct SurrogateTerms {
    /** What generalised Born models know of an atom (in nm); the effective radius is a function of an integral. */
    struct Sphere {
        double charge = 0, radius = 0, offsetRadius = 0, scaledRadius = 0;
        /** alpha, beta and gamma of the model; HCT has none. */
        std::array<double, 3> curve = {};
        int type = 0;
        bool isLeftOut = false;
    };
    /** A pair with parameters of its own (in e^2, nm and kJ/mol). */
    struct Exception {
        int first, second;
        double chargeProduct, sigma, epsilon;
    };
    /**
     * Read what is known of a System.
     *
     * @param system   the System
     * @param groups   the force groups that count, as bits
     */
    SurrogateTerms(const OpenMM::System& system, int groups);
    /** Leave out all that depends on where these atoms are. */
    void leaveOut(const std::vector<int>& atoms);

    int numAtoms;
    /** Of each atom (in e, nm and kJ/mol). */
    std::vector<double> charge, sigma, epsilon;
    std::vector<Exception> exceptions;
    /** Whether these are of nearest images, too. */
    bool exceptionsAreNearest = false;
    /** Whether pairs are those of nearest images within a cutoff (in nm); the Lennard-Jones part is switched off from a distance on. */
    bool isPeriodic = false;
    double cutoff = 0, switchDistance = 0;
    /** Of the charges' part, 1/r + linear r + square r^2 - shift; with Ewald's sums also excluded pairs have that but 1/r. */
    double linear = 0, square = 0, shift = 0;
    bool isEwald = false;
    /** Torsions, maps of torsions, and springs. */
    std::vector<BondedTerm> bonded;
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
     * The forces that may change with torsions and are left out or simplified, by name: also those with a cutoff that
     * is not periodic, with salt (kappa), or with parameters that global ones offset.  Ewald's sums are not named.
     */
    std::vector<std::string> unknown;
};

} // namespace AtmosPlugin

#endif // ATMOS_SURROGATETERMS_H_
