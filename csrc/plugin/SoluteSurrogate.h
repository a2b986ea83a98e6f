#ifndef ATMOS_SOLUTESURROGATE_H_
#define ATMOS_SOLUTESURROGATE_H_

#include "SurrogateEnergy.h"

namespace AtmosPlugin {

/** A molecule in vacuum or a generalised Born solvent: all pairs, every time. */
class SoluteSurrogate : public SurrogateEnergy {
public:
    SoluteSurrogate(const SurrogateTerms& terms, const TurningGroups& groups);
    double begin(const std::vector<OpenMM::Vec3>& positions, const BoxVectors& box) override;
    double propose(const std::vector<OpenMM::Vec3>& positions, const std::vector<int>& changed) override;
    void accept() override {}

private:
    void fillPairs(const SurrogateTerms& terms);
    void fillSpheres(const SurrogateTerms& terms);
    void addBorn(double& energy);
    int width;
    std::vector<BondedTerm> bonded;
    std::vector<SurrogateTerms::Sphere> spheres;
    bool hasCurve, hasNeck;
    double polarity, surfaceEnergy;
    // Rows of `width` columns; pairs stand once, where the column is larger than the row, and zeros elsewhere.
    std::vector<float> coulomb, repulsion, attraction, born;
    // Of all pairs but an atom and itself: 1, and the neck of the column's sphere in the row's.
    std::vector<float> others, neckHeight, neckPlace;
    std::vector<float> x, y, z, radii, scaledRadii, effective;
};

} // namespace AtmosPlugin

#endif // ATMOS_SOLUTESURROGATE_H_
