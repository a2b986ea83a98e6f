#include "TorsionDensity.h"

#include "openmm/OpenMMException.h"
#include <algorithm>
#include <cmath>
#include <limits>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

static const double TWO_PI = 2 * M_PI;
static const double LOG_TWO_PI = log(TWO_PI);

// An image of a normal distribution that is farther than this many standard deviations counts nothing.
static const double IMAGE_RANGE = 9;

// A term that is smaller than the uniform one by this much in the logarithm changes no digit of the sum.
static const double NEGLIGIBLE = 45;

double wrapAngle(double angle) {
    const double turns = ceil(angle / TWO_PI - 0.5);
    return angle - TWO_PI * turns;
}

/** The lower Cholesky factor of a symmetric matrix, row by row. */
static vector<double> factorize(const vector<double>& matrix, size_t size) {
    vector<double> factor(size * size, 0.0);
    for (size_t i = 0; i < size; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = matrix[i * size + j];
            for (size_t k = 0; k < j; k++)
                sum -= factor[i * size + k] * factor[j * size + k];
            if (i == j && !(sum > 0))
                throw OpenMMException("AtmosIntegrator: the torsion moves have a covariance that is not positive definite");
            factor[i * size + j] = i == j ? sqrt(sum) : sum / factor[j * size + j];
        }
    return factor;
}

/** Solve factor * x = y in place, with a lower factor. */
static void solveLower(const vector<double>& factor, size_t size, double* y) {
    for (size_t i = 0; i < size; i++) {
        for (size_t k = 0; k < i; k++)
            y[i] -= factor[i * size + k] * y[k];
        y[i] /= factor[i * size + i];
    }
}

/** Solve factor^T * x = y in place. */
static void solveUpper(const vector<double>& factor, size_t size, double* y) {
    for (size_t i = size; i-- > 0;) {
        for (size_t k = i + 1; k < size; k++)
            y[i] -= factor[k * size + i] * y[k];
        y[i] /= factor[i * size + i];
    }
}

static double logNormalization(const vector<double>& factor, size_t size) {
    double result = -0.5 * static_cast<double>(size) * LOG_TWO_PI;
    for (size_t i = 0; i < size; i++)
        result -= log(factor[i * size + i]);
    return result;
}

/** The logarithm of a normal density at a deviation from its mean, which is used up. */
static double logNormal(const vector<double>& factor, double logNorm, vector<double>& deviation) {
    solveLower(factor, deviation.size(), deviation.data());
    double squares = 0;
    for (double value : deviation)
        squares += value * value;
    return logNorm - 0.5 * squares;
}

static double logSum(const vector<double>& terms) {
    const double largest = *max_element(terms.begin(), terms.end());
    if (isinf(largest))
        return largest;
    double sum = 0;
    for (double term : terms)
        sum += exp(term - largest);
    return largest + log(sum);
}

/**
 * Visit all combinations of the nearest image and, where it is in range, the second nearest of each dimension.
 *
 * @param image   for the visits, which may change it
 */
template <class Visit>
static void forImages(const vector<double>& deltas, const vector<double>& deviations, vector<double>& image, const Visit& visit) {
    size_t combinations = 1;
    for (size_t j = 0; j < deltas.size(); j++)
        if (TWO_PI - fabs(deltas[j]) <= IMAGE_RANGE * deviations[j])
            combinations *= 2;
    for (size_t number = 0; number < combinations; number++) {
        image = deltas;
        size_t left = number;
        for (size_t j = 0; j < deltas.size() && left > 0; j++) {
            const double other = TWO_PI - fabs(deltas[j]);
            if (!(other <= IMAGE_RANGE * deviations[j]))
                continue;
            if (left % 2 == 1)
                image[j] = deltas[j] > 0 ? -other : other;
            left /= 2;
        }
        visit(image);
    }
}

/** An upper bound of the logarithm of a normal density, wrapped or not: one dimension is as far away as it is. */
static double largestLogNormal(double logNorm, const vector<double>& deltas, const vector<double>& deviations) {
    double farthest = 0;
    for (size_t j = 0; j < deltas.size(); j++)
        farthest = max(farthest, fabs(deltas[j]) / deviations[j]);
    return logNorm - 0.5 * farthest * farthest;
}

TorsionDensity::Component TorsionDensity::makeComponent(const double* mean, const double* covariance, int size) {
    const size_t d = static_cast<size_t>(size);
    Component component;
    if (mean != nullptr)
        component.mean.assign(mean, mean + d);
    component.covariance.assign(covariance, covariance + d * d);
    component.factor = factorize(component.covariance, d);
    component.logNorm = logNormalization(component.factor, d);
    for (size_t i = 0; i < d; i++)
        component.deviations.push_back(sqrt(covariance[i * d + i]));
    return component;
}

TorsionDensity::TorsionDensity(const TorsionParameters& parameters) : uniformWeight(parameters.uniformWeight) {
    const double *mean = parameters.means.data(), *covariance = parameters.covariances.data(), *local = parameters.localCovariances.data(),
                 *sequential = parameters.sequentialGates.data(), *conditional = parameters.conditionalGates.data();
    const int* gates = parameters.gateTorsions.data();
    int start = 0;
    for (size_t b = 0; b < parameters.blockSizes.size(); b++) {
        Block block;
        block.start = start;
        block.size = parameters.blockSizes[b];
        block.hasLocal = parameters.hasLocal[b] != 0;
        const int d = block.size;
        for (int k = 0; k < parameters.componentCounts[b]; k++, mean += d, covariance += d * d)
            block.components.push_back(makeComponent(mean, covariance, d));
        if (block.hasLocal) {
            block.components.push_back(makeComponent(nullptr, local, d));
            local += d * d;
        }
        block.gates.assign(gates, gates + parameters.gateCounts[b]);
        const size_t numWeights = block.components.size() * (1 + 2 * block.gates.size());
        block.sequential.assign(sequential, sequential + numWeights);
        block.conditional.assign(conditional, conditional + numWeights);
        gates += parameters.gateCounts[b];
        sequential += numWeights;
        conditional += numWeights;
        start += d;
        blocks.push_back(std::move(block));
    }
}

void TorsionDensity::computeLogWeights(const Block& block, const vector<double>& at, Gates gates, vector<double>& logWeights) const {
    const vector<double>& table = gates == Gates::Sequential ? block.sequential : block.conditional;
    const size_t row = 1 + 2 * block.gates.size();
    vector<double> waves;
    for (int gate : block.gates) {
        waves.push_back(cos(at[gate]));
        waves.push_back(sin(at[gate]));
    }
    logWeights.clear();
    for (size_t c = 0; c < block.components.size(); c++) {
        double logit = table[c * row];
        for (size_t g = 0; g < waves.size(); g++)
            logit += table[c * row + 1 + g] * waves[g];
        logWeights.push_back(logit);
    }
    if (logWeights.empty())
        return;
    const double shift = log1p(-uniformWeight) - logSum(logWeights);
    for (double& weight : logWeights)
        weight += shift;
}

double TorsionDensity::logUniform(const Block& block, size_t dimensions) const {
    const double weight = block.components.empty() ? 1.0 : uniformWeight;
    return log(weight) - static_cast<double>(dimensions) * LOG_TWO_PI;
}

double TorsionDensity::center(const Block& block, const Component& component, int dimension, const vector<double>& at) const {
    return component.mean.empty() ? at[block.start + dimension] : component.mean[dimension];
}

double TorsionDensity::logBlock(int number, const double* to, const vector<double>& at, Gates gates) const {
    const Block& block = blocks[number];
    vector<double> logWeights, deltas(block.size), image;
    computeLogWeights(block, at, gates, logWeights);
    const double uniform = logUniform(block, static_cast<size_t>(block.size));
    vector<double> terms = {uniform};
    for (size_t c = 0; c < block.components.size(); c++) {
        const Component& component = block.components[c];
        for (int j = 0; j < block.size; j++)
            deltas[j] = wrapAngle(to[j] - center(block, component, j, at));
        if (logWeights[c] + largestLogNormal(component.logNorm, deltas, component.deviations) < uniform - NEGLIGIBLE)
            continue;
        forImages(deltas, component.deviations, image, [&](vector<double>& at) {
            terms.push_back(logWeights[c] + logNormal(component.factor, component.logNorm, at));
        });
    }
    return logSum(terms);
}

TorsionDensity::Conditional TorsionDensity::makeConditional(const Component& component, const vector<int>& fixed, const vector<int>& free) {
    const size_t d = component.deviations.size(), g = fixed.size(), f = free.size();
    const auto part = [&](const vector<int>& rows, const vector<int>& columns) {
        vector<double> matrix;
        for (int i : rows)
            for (int j : columns)
                matrix.push_back(component.covariance[static_cast<size_t>(i) * d + static_cast<size_t>(j)]);
        return matrix;
    };
    Conditional result;
    result.fixedFactor = factorize(part(fixed, fixed), g);
    result.fixedLogNorm = logNormalization(result.fixedFactor, g);

    // regression = S_FG S_GG^-1, row by row; what is left is the Schur complement.

    result.regression = part(free, fixed);
    vector<double> left = part(free, free);
    const vector<double> mixed = result.regression;
    for (size_t i = 0; i < f; i++) {
        double* row = result.regression.data() + i * g;
        solveLower(result.fixedFactor, g, row);
        solveUpper(result.fixedFactor, g, row);
        for (size_t j = 0; j < f; j++)
            for (size_t k = 0; k < g; k++)
                left[i * f + j] -= row[k] * mixed[j * g + k];
    }
    result.freeFactor = factorize(left, f);
    return result;
}

const vector<TorsionDensity::Conditional>& TorsionDensity::pattern(Block& block, const vector<int>& fixed, const vector<int>& free) {
    const auto found = block.patterns.find(free);
    if (found != block.patterns.end())
        return found->second;
    vector<Conditional>& result = block.patterns[free];
    for (const Component& component : block.components)
        result.push_back(makeConditional(component, fixed, free));
    return result;
}

vector<double> TorsionDensity::drawBlock(int number, const vector<int>& free, const vector<double>& at, Noise::Draws& draws, Gates gates) {
    Block& block = blocks[number];
    vector<int> fixed;
    for (int j = 0; j < block.size; j++)
        if (find(free.begin(), free.end(), j) == free.end())
            fixed.push_back(j);
    const vector<Conditional>& conditionals = pattern(block, fixed, free);

    // The candidates: each component with each image of the given torsions, last the uniform part.

    const double uniform = logUniform(block, fixed.size());
    vector<double> logWeights, terms, deltas(fixed.size()), deviations(fixed.size()), image, offset;
    computeLogWeights(block, at, gates, logWeights);
    vector<size_t> owners;
    vector<vector<double>> offsets;
    for (size_t c = 0; c < block.components.size(); c++) {
        const Component& component = block.components[c];
        for (size_t j = 0; j < fixed.size(); j++) {
            deltas[j] = wrapAngle(at[block.start + fixed[j]] - center(block, component, fixed[j], at));
            deviations[j] = component.deviations[fixed[j]];
        }
        if (logWeights[c] + largestLogNormal(conditionals[c].fixedLogNorm, deltas, deviations) < uniform - NEGLIGIBLE)
            continue;
        forImages(deltas, deviations, image, [&](vector<double>& at) {
            offset = at;
            terms.push_back(logWeights[c] + logNormal(conditionals[c].fixedFactor, conditionals[c].fixedLogNorm, at));
            owners.push_back(c);
            offsets.push_back(offset);
        });
    }
    terms.push_back(uniform);

    // Pick one and draw from it.

    const double largest = *max_element(terms.begin(), terms.end());
    double total = 0;
    for (double& term : terms) {
        term = exp(term - largest);
        total += term;
    }
    const double threshold = draws.uniform() * total;
    size_t picked = 0;
    for (double sum = terms[0]; sum <= threshold && picked + 1 < terms.size(); sum += terms[picked])
        picked++;
    vector<double> result(at.begin() + block.start, at.begin() + block.start + block.size);
    if (picked == owners.size()) {
        for (int j : free)
            result[j] = wrapAngle(TWO_PI * draws.uniform() - M_PI);
        return result;
    }
    const size_t c = owners[picked];
    const Conditional& conditional = conditionals[c];
    vector<double> normals;
    for (size_t i = 0; i < free.size(); i++) {
        normals.push_back(draws.normal());
        double value = center(block, block.components[c], free[i], at);
        for (size_t k = 0; k < fixed.size(); k++)
            value += conditional.regression[i * fixed.size() + k] * offsets[picked][k];
        for (size_t k = 0; k <= i; k++)
            value += conditional.freeFactor[i * free.size() + k] * normals[k];
        result[free[i]] = wrapAngle(value);
    }
    return result;
}

} // namespace AtmosPlugin
