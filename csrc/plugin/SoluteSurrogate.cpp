// Loops over columns are written for the compiler's vectoriser; the build gives this file its own options.

#include "SoluteSurrogate.h"

#include "VectorMath.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

// Rows are padded to a multiple of this, with atoms so far away that they have no part in anything.
static const int LANES = 16;
static const float FAR = 1e4f;

// How much farther than two radii the neck between two spheres reaches (in nm).
static const double NECK_REACH = 0.68;
static const double PROBE_RADIUS = 0.14;

/** The integral of 1/r^4 over the spheres of a row, from which an effective radius comes (Hawkins, Cramer, Truhlar). */
ATMOS_WIDEST
static float integrate(int width, const float* x, const float* y, const float* z, int row, float offsetRadius, const float* scaled,
                       const float* others) {
    const float x0 = x[row], y0 = y[row], z0 = z[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float r = larger(sqrtf(dx * dx + dy * dy + dz * dz), CLOSEST), s = scaled[j];
        const float lower = 1.0f / larger(offsetRadius, fabsf(r - s)), upper = 1.0f / larger(r + s, CLOSEST), inverse = 1.0f / r;
        const float value = lower - upper + 0.25f * (r - s * s * inverse) * (upper * upper - lower * lower) +
                            0.5f * logarithm(upper / lower) * inverse;
        sum += r + s > offsetRadius ? 0.5f * others[j] * value : 0.0f;
    }
    return sum;
}

/** What the necks between the spheres of a row add to it (Mongan, Simmerling et al.). */
ATMOS_WIDEST
static float integrateNecks(int width, const float* x, const float* y, const float* z, int row, float reach, const float* radii,
                            const float* height, const float* place) {
    const float x0 = x[row], y0 = y[row], z0 = z[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = 0; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float r = sqrtf(dx * dx + dy * dy + dz * dz), d = r - place[j], d2 = d * d;
        const float value = height[j] / (1.0f + 100.0f * d2 + 3e5f * d2 * d2 * d2);
        sum += reach + radii[j] > r ? value : 0.0f;
    }
    return sum;
}

/** Coulomb and Lennard-Jones energies of a row. */
ATMOS_WIDEST
static float sumPairs(int first, int width, const float* x, const float* y, const float* z, int row, const float* coulomb, const float* repulsion,
                      const float* attraction) {
    const float x0 = x[row], y0 = y[row], z0 = z[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = first; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float inverse = 1.0f / larger(sqrtf(dx * dx + dy * dy + dz * dz), CLOSEST);
        const float i2 = inverse * inverse, i6 = i2 * i2 * i2;
        sum += coulomb[j] * inverse + i6 * (repulsion[j] * i6 - attraction[j]);
    }
    return sum;
}

/** Polarisation energies of a row (Still et al.). */
ATMOS_WIDEST
static float sumBorn(int first, int width, const float* x, const float* y, const float* z, int row, const float* effective, const float* born) {
    const float x0 = x[row], y0 = y[row], z0 = z[row], own = effective[row];
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int j = first; j < width; j++) {
        const float dx = x[j] - x0, dy = y[j] - y0, dz = z[j] - z0;
        const float r2 = dx * dx + dy * dy + dz * dz, product = own * effective[j];
        sum += born[j] / sqrtf(r2 + product * exponential(-0.25f * r2 / product));
    }
    return sum;
}

SoluteSurrogate::SoluteSurrogate(const SurrogateTerms& terms, const TurningGroups& groups)
        : SurrogateEnergy(terms), width((terms.numAtoms + LANES - 1) / LANES * LANES),
          bonded(groups.selectChanged(terms.bonded, terms.numAtoms)), spheres(terms.spheres), hasCurve(terms.hasCurve),
          hasNeck(terms.hasNeck), polarity(terms.polarity), surfaceEnergy(terms.surfaceEnergy) {
    x.resize(static_cast<size_t>(width));
    for (size_t i = 0; i < x.size(); i++)
        x[i] = FAR * static_cast<float>(i + 1);
    y = z = x;
    if (terms.hasPairs)
        fillPairs(terms);
    if (!spheres.empty())
        fillSpheres(terms);
}

void SoluteSurrogate::fillPairs(const SurrogateTerms& terms) {
    const size_t stride = static_cast<size_t>(width);
    coulomb.assign(static_cast<size_t>(numAtoms) * stride, 0);
    repulsion = attraction = coulomb;
    const auto set = [&](int i, int j, double chargeProduct, double sigma, double epsilon) {
        const size_t at = static_cast<size_t>(min(i, j)) * stride + static_cast<size_t>(max(i, j));
        const double c6 = 4 * epsilon * pow(sigma, 6);
        coulomb[at] = static_cast<float>(COULOMB * chargeProduct);
        attraction[at] = static_cast<float>(c6);
        repulsion[at] = static_cast<float>(c6 * pow(sigma, 6));
    };
    for (int i = 0; i < numAtoms; i++)
        for (int j = i + 1; j < numAtoms; j++)
            set(i, j, terms.charge[i] * terms.charge[j], 0.5 * (terms.sigma[i] + terms.sigma[j]), sqrt(terms.epsilon[i] * terms.epsilon[j]));
    for (const SurrogateTerms::Exception& pair : terms.exceptions)
        set(pair.first, pair.second, pair.chargeProduct, pair.sigma, pair.epsilon);
}

void SoluteSurrogate::fillSpheres(const SurrogateTerms& terms) {
    const size_t size = static_cast<size_t>(numAtoms) * static_cast<size_t>(width);
    born.assign(size, 0);
    others = born;
    if (hasNeck)
        neckHeight = neckPlace = born;
    radii.assign(static_cast<size_t>(width), 0);
    scaledRadii = radii;
    effective.assign(static_cast<size_t>(width), 1);
    for (int i = 0; i < numAtoms; i++) {
        const SurrogateTerms::Sphere& sphere = spheres[static_cast<size_t>(i)];
        radii[static_cast<size_t>(i)] = static_cast<float>(sphere.radius);
        scaledRadii[static_cast<size_t>(i)] = static_cast<float>(sphere.scaledRadius);
        for (int j = 0; j < numAtoms; j++) {
            const SurrogateTerms::Sphere& other = spheres[static_cast<size_t>(j)];
            const size_t at = static_cast<size_t>(i) * static_cast<size_t>(width) + static_cast<size_t>(j);
            const bool isPair = i != j && !sphere.isLeftOut && !other.isLeftOut;
            others[at] = isPair ? 1.0f : 0.0f;
            if (j > i)
                born[at] = static_cast<float>(-COULOMB * polarity * sphere.charge * other.charge);
            if (hasNeck && isPair) {
                const size_t type = static_cast<size_t>(sphere.type * terms.numTypes + other.type);
                neckHeight[at] = static_cast<float>(terms.neckScale * terms.neckHeight[type]);
                neckPlace[at] = static_cast<float>(terms.neckPlace[type]);
            }
        }
    }
}

void SoluteSurrogate::addBorn(double& energy) {
    const size_t stride = static_cast<size_t>(width);
    for (int i = 0; i < static_cast<int>(spheres.size()); i++) {
        const SurrogateTerms::Sphere& sphere = spheres[static_cast<size_t>(i)];
        const size_t at = static_cast<size_t>(i) * stride;
        double integral = integrate(width, x.data(), y.data(), z.data(), i, static_cast<float>(sphere.offsetRadius), scaledRadii.data(), &others[at]);
        if (hasNeck)
            integral += integrateNecks(width, x.data(), y.data(), z.data(), i, static_cast<float>(sphere.radius + NECK_REACH), radii.data(),
                                       &neckHeight[at], &neckPlace[at]);
        const double psi = integral * sphere.offsetRadius;
        const double correction =
                hasCurve ? tanh(psi * (sphere.curve[0] - psi * (sphere.curve[1] - psi * sphere.curve[2]))) / sphere.radius : integral;
        const double radius = 1 / (1 / sphere.offsetRadius - correction);
        effective[static_cast<size_t>(i)] = static_cast<float>(radius);
        energy -= 0.5 * COULOMB * polarity * sphere.charge * sphere.charge / radius;
        const double reach = sphere.radius + PROBE_RADIUS, exposed = (sphere.radius / radius) * (sphere.radius / radius);
        energy += surfaceEnergy * reach * reach * exposed * exposed * exposed;
    }
}

double SoluteSurrogate::begin(const vector<Vec3>& positions, const BoxVectors&) {
    return propose(positions, {});
}

double SoluteSurrogate::propose(const vector<Vec3>& positions, const vector<int>&) {
    checkSize(positions);
    for (size_t i = 0; i < static_cast<size_t>(numAtoms); i++) {
        const Vec3 p = positions[i] - positions[0];
        x[i] = static_cast<float>(p[0]);
        y[i] = static_cast<float>(p[1]);
        z[i] = static_cast<float>(p[2]);
    }
    double energy = 0;
    for (const BondedTerm& term : bonded)
        term.addTo(energy, positions);
    addBorn(energy);
    const size_t stride = static_cast<size_t>(width);
    for (int i = 0; i < numAtoms; i++) {
        const size_t at = static_cast<size_t>(i) * stride;
        const int first = i / LANES * LANES;
        if (!coulomb.empty())
            energy += sumPairs(first, width, x.data(), y.data(), z.data(), i, &coulomb[at], &repulsion[at], &attraction[at]);
        if (!born.empty())
            energy += sumBorn(first, width, x.data(), y.data(), z.data(), i, effective.data(), &born[at]);
    }
    return energy;
}

} // namespace AtmosPlugin
