#ifndef ATMOS_PAIRROWS_H_
#define ATMOS_PAIRROWS_H_

#include "openmm/Vec3.h"
#include <array>
#include <cstddef>
#include <vector>

namespace AtmosPlugin {

/** Three vectors of a periodic box (in nm), reduced as OpenMM has them. */
using BoxVectors = std::array<OpenMM::Vec3, 3>;

/** Get the image of a point in the brick that spans the box's diagonal entries. */
OpenMM::Vec3 wrapPoint(OpenMM::Vec3 point, const BoxVectors& box);

/**
 * The energy of a pair within the cutoff: charges times 1/r + linear r + square r^2 - shift, and Lennard-Jones' energy, which
 * is switched off between a distance and the cutoff.
 */
struct PairRule {
    float cutoff2 = 0, linear = 0, square = 0, shift = 0, switchDistance = 0, switchScale = 0;
};

/** What an atom brings to its pairs: a charge (in units that make the energy kJ/mol), sigma / 2 and the root of epsilon. */
struct PairParameters {
    float charge = 0, halfSigma = 0, rootEpsilon = 0;
};

/** Atoms that rows run over, in blocks of LANES.  Those that are hidden have no part in any row. */
class PairAtoms {
public:
    static constexpr size_t LANES = 16;
    /** Make room, all of it hidden and far away. */
    void reset(size_t size);
    void place(size_t slot, const OpenMM::Vec3& position);
    void show(size_t slot, const PairParameters& parameters);
    void hide(size_t slot);

    std::vector<float> x, y, z, charge, halfSigma, rootEpsilon;
};

/** Sum the energies (in kJ/mol) of an atom with blocks of others, each taken where it is. */
double sumRow(const PairRule& rule, const PairAtoms& atoms, size_t first, size_t blocks, const OpenMM::Vec3& position,
              const PairParameters& parameters);

/** Sum the energies (in kJ/mol) of an atom with the nearest images of all others. */
double sumNearest(const PairRule& rule, const PairAtoms& atoms, const OpenMM::Vec3& position, const PairParameters& parameters,
                  const BoxVectors& box);

/** Atoms that stay where they are, in columns along x, so that those near a point are found in a time that does not depend on the box. */
class FixedAtoms {
public:
    /**
     * Take the places of atoms.
     *
     * @param members      the atoms
     * @param positions    all positions (in nm)
     * @param box          the periodic box
     * @param cutoff       how far sums reach (in nm)
     * @param parameters   of all atoms
     */
    void build(const std::vector<int>& members, const std::vector<OpenMM::Vec3>& positions, const BoxVectors& box, double cutoff,
               const std::vector<PairParameters>& parameters);
    /** Sum the energies (in kJ/mol) of an atom with all images within the cutoff, but those of some atoms. */
    double sum(const PairRule& rule, const OpenMM::Vec3& position, const PairParameters& parameters, const std::vector<int>& excluded);

private:
    double sumColumn(const PairRule& rule, size_t column, OpenMM::Vec3 position, const PairParameters& parameters, double reach) const;
    BoxVectors box;
    double cutoff = 0, height = 0, depth = 0;
    int numY = 0, numZ = 0;
    PairAtoms atoms;
    // Where each column begins and ends, and the slot and parameters of each atom.
    std::vector<size_t> begins, ends, slots;
    std::vector<PairParameters> known;
};

} // namespace AtmosPlugin

#endif // ATMOS_PAIRROWS_H_
