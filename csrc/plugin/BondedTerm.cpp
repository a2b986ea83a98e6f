#include "BondedTerm.h"

#include "openmm/internal/CMAPTorsionForceImpl.h"
#include <algorithm>
#include <cmath>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

TorsionMap::TorsionMap(int size, const vector<double>& energy) : size(static_cast<size_t>(size)) {
    CMAPTorsionForceImpl::calcMapDerivatives(size, energy, coefficients);
}

double TorsionMap::evaluate(double first, double second) const {
    const double delta = 2 * M_PI / static_cast<double>(size);
    const auto split = [&](double angle, size_t& cell) {
        const double place = (angle < 0 ? angle + 2 * M_PI : angle) / delta;
        cell = min(static_cast<size_t>(place), size - 1);
        return place - static_cast<double>(cell);
    };
    size_t i, j;
    const double a = split(first, i), b = split(second, j);
    const vector<double>& c = coefficients[i + size * j];
    double energy = 0;
    for (size_t k = 4; k-- > 0;)
        energy = a * energy + ((c[4 * k + 3] * b + c[4 * k + 2]) * b + c[4 * k + 1]) * b + c[4 * k];
    return energy;
}

/** A torsion's cosine and sine times a positive length, which is returned; 0 where there is no torsion. */
static double direction(const vector<Vec3>& positions, const int* atoms, double& u, double& v) {
    const auto at = [&](int k) -> const Vec3& { return positions[static_cast<size_t>(atoms[k])]; };
    const Vec3 axis = at(2) - at(1), normal1 = (at(1) - at(0)).cross(axis), normal2 = axis.cross(at(3) - at(2));
    u = normal1.dot(normal2);
    v = normal1.cross(normal2).dot(axis) / sqrt(axis.dot(axis));
    return sqrt(u * u + v * v);
}

static void addSeries(const BondedTerm& term, const vector<Vec3>& positions, double& energy) {
    double u, v;
    const double length = direction(positions, term.atoms.data(), u, v);
    if (!(length > 0))
        return;

    // Powers of c + i s are the cosines and sines of the multiples.

    const double c = u / length, s = v / length;
    double cosine = 1, sine = 0;
    for (size_t n = 0; n < term.cosines.size(); n++) {
        const double next = cosine * c - sine * s;
        sine = cosine * s + sine * c;
        cosine = next;
        energy += term.cosines[n] * cosine + term.sines[n] * sine;
    }
}

static double angleOf(const BondedTerm& term, const vector<Vec3>& positions) {
    const auto at = [&](size_t k) -> const Vec3& { return positions[static_cast<size_t>(term.atoms[k])]; };
    const Vec3 first = at(0) - at(1), second = at(2) - at(1), across = first.cross(second);
    return atan2(sqrt(across.dot(across)), first.dot(second));
}

void BondedTerm::addTo(double& energy, const vector<Vec3>& positions) const {
    if (kind == Kind::Torsion)
        return addSeries(*this, positions, energy);
    if (kind == Kind::Map) {
        double u[2], v[2];
        if (direction(positions, atoms.data(), u[0], v[0]) > 0 && direction(positions, atoms.data() + 4, u[1], v[1]) > 0)
            energy += map->evaluate(atan2(v[0], u[0]), atan2(v[1], u[1]));
        return;
    }
    double value;
    if (kind == Kind::Bond) {
        const Vec3 d = positions[static_cast<size_t>(atoms[1])] - positions[static_cast<size_t>(atoms[0])];
        value = sqrt(d.dot(d));
    } else
        value = angleOf(*this, positions);
    energy += 0.5 * stiffness * (value - rest) * (value - rest);
}

} // namespace AtmosPlugin
