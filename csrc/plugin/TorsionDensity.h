#ifndef ATMOS_TORSIONDENSITY_H_
#define ATMOS_TORSIONDENSITY_H_

#include "Noise.h"
#include "TorsionParameters.h"
#include <map>
#include <vector>

namespace AtmosPlugin {

/**
 * The explicit density that torsions are drawn from.  Each block of torsions has a mixture of wrapped
 * normals and a uniform part; the weights may depend on torsions outside the block.  Every component
 * integrates to 1 on the torus, so the densities are exact whatever the weights are.
 */
class TorsionDensity {
public:
    /** Which weights are meant. */
    enum class Gates { Sequential, Conditional };

    /**
     * Prepare the density: factors of covariances, normalisations.
     *
     * @param parameters   valid parameters
     * @throws OpenMMException if a covariance is not positive definite
     */
    explicit TorsionDensity(const TorsionParameters& parameters);
    /**
     * Get the logarithm of the density of a block's torsions.
     *
     * @param block   the number of the block
     * @param to      the torsions at which it is asked for, one for each torsion of the block
     * @param at      all torsions as they are: gates and the mean of the local component
     * @param gates   which weights to use
     */
    double logBlock(int block, const double* to, const std::vector<double>& at, Gates gates) const;
    /**
     * Draw some torsions of a block given its others.
     *
     * @param block   the number of the block
     * @param free    the torsions to draw, numbered from 0 in the block, in increasing order
     * @param at      all torsions as they are: the others of the block, gates, the mean of the local component
     * @param draws   the random numbers
     * @param gates   which weights to use
     * @return the new torsions of the block, those that were given among them
     */
    std::vector<double> drawBlock(int block, const std::vector<int>& free, const std::vector<double>& at, Noise::Draws& draws,
                                  Gates gates);
    /** Get the number of the first torsion of a block. */
    int getStart(int block) const { return blocks[block].start; }
    /** Get the number of torsions in a block. */
    int getSize(int block) const { return blocks[block].size; }

private:
    /** A normal distribution of some torsions of a block given the others. */
    struct Conditional {
        // Of the fixed torsions: the lower Cholesky factor and the logarithm of the normalisation.
        std::vector<double> fixedFactor;
        double fixedLogNorm = 0;
        // The mean of the free ones is regression * (deviation of the fixed ones); their covariance's lower factor.
        std::vector<double> regression, freeFactor;
    };
    struct Component {
        std::vector<double> mean, covariance, factor, deviations;
        double logNorm = 0;
    };
    struct Block {
        int start = 0, size = 0;
        bool hasLocal = false;
        std::vector<Component> components;
        std::vector<int> gates;
        std::vector<double> sequential, conditional;
        // For each set of free torsions that has been drawn: the components' conditional distributions.
        std::map<std::vector<int>, std::vector<Conditional>> patterns;
    };
    static Component makeComponent(const double* mean, const double* covariance, int size);
    static Conditional makeConditional(const Component& component, const std::vector<int>& fixed, const std::vector<int>& free);
    const std::vector<Conditional>& pattern(Block& block, const std::vector<int>& fixed, const std::vector<int>& free);
    void computeLogWeights(const Block& block, const std::vector<double>& at, Gates gates, std::vector<double>& logWeights) const;
    double logUniform(const Block& block, size_t dimensions) const;
    double center(const Block& block, const Component& component, int dimension, const std::vector<double>& at) const;
    std::vector<Block> blocks;
    double uniformWeight;
};

/** Bring an angle into the interval (-pi, pi]. */
double wrapAngle(double angle);

} // namespace AtmosPlugin

#endif // ATMOS_TORSIONDENSITY_H_
