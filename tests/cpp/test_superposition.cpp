#include "Superposition.h"
#include "check.h"

#include <cmath>

using namespace AtmosPlugin;
using namespace OpenMM;
using namespace std;

namespace {

// No symmetry, neither flat nor long.
const vector<Vec3> MOLECULE = {{0.1, 0.2, -0.1}, {0.25, 0.15, 0.05}, {-0.1, 0.3, 0.2}, {0.0, -0.2, 0.15}, {0.4, 0.1, 0.3}};

/** Turn points about an axis through the origin (Rodrigues' formula), then shift them. */
vector<Vec3> moved(const vector<Vec3>& points, Vec3 axis, double angle, Vec3 shift) {
    axis /= sqrt(axis.dot(axis));
    vector<Vec3> result;
    for (const Vec3& p : points)
        result.push_back(p * cos(angle) + axis.cross(p) * sin(angle) + axis * axis.dot(p) * (1 - cos(angle)) + shift);
    return result;
}

double largestDistance(const vector<Vec3>& a, const vector<Vec3>& b) {
    double largest = 0;
    for (size_t i = 0; i < a.size(); i++)
        largest = max(largest, sqrt((a[i] - b[i]).dot(a[i] - b[i])));
    return largest;
}

double sumOfSquares(const vector<Vec3>& a, const vector<Vec3>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); i++)
        sum += (a[i] - b[i]).dot(a[i] - b[i]);
    return sum;
}

/** The volume that the first four points span, with its sign. */
double volume(const vector<Vec3>& x) {
    return (x[1] - x[0]).dot((x[2] - x[0]).cross(x[3] - x[0]));
}

vector<Vec3> mirrored(vector<Vec3> points) {
    for (Vec3& point : points)
        point[2] = -point[2];
    return points;
}

} // namespace

TEST(superposition, centroid_is_the_mean) {
    const Vec3 center = centroid({{1, 2, 3}, {3, 2, -3}, {2, 8, 3}});
    CHECK_EQUAL(center[0], 2.0);
    CHECK_EQUAL(center[1], 4.0);
    CHECK_EQUAL(center[2], 1.0);
}

TEST(superposition, undoes_rotations_and_shifts) {
    const vector<Vec3> axes = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, -2, 3}};
    for (const Vec3& axis : axes)
        for (double angle : {0.0, 1e-6, 0.5, 1.7, M_PI / 2, M_PI, -3.0}) {
            const vector<Vec3> turned = moved(MOLECULE, axis, angle, {5, -3, 2});
            CHECK(largestDistance(superpose(turned, MOLECULE), MOLECULE) < 1e-14);
        }
}

TEST(superposition, never_mirrors) {
    const vector<Vec3> image = mirrored(MOLECULE);
    const vector<Vec3> found = superpose(moved(image, {1, 1, 0}, 2.0, {0, 1, 0}), MOLECULE);
    CHECK_NEAR(volume(found), volume(image), 1e-15);
    CHECK(volume(found) * volume(MOLECULE) < 0);
}

TEST(superposition, moves_rigidly_onto_the_centroid) {
    const vector<Vec3> reference = moved(MOLECULE, {0, 1, 1}, 0.8, {1, 2, 3});
    vector<Vec3> bent = MOLECULE;
    bent[2] += Vec3(0.1, -0.05, 0.02);
    const vector<Vec3> found = superpose(bent, reference);
    const Vec3 offset = centroid(found) - centroid(reference);
    CHECK_NEAR(sqrt(offset.dot(offset)), 0, 1e-15);
    for (size_t i = 0; i < bent.size(); i++)
        for (size_t j = 0; j < i; j++) {
            const Vec3 before = bent[i] - bent[j], after = found[i] - found[j];
            CHECK_NEAR(after.dot(after), before.dot(before), 1e-15);
        }
}

TEST(superposition, no_other_rotation_is_better) {
    vector<Vec3> bent = mirrored(MOLECULE);
    bent[1] += Vec3(0.05, 0.1, 0);
    const Vec3 center = centroid(MOLECULE);
    const vector<Vec3> best = superpose(bent, MOLECULE);
    for (double angle : {-2.0, -0.01, 0.01, 2.0})
        for (const Vec3& axis : {Vec3(1, 0, 0), Vec3(0, 1, 0), Vec3(0, 0, 1)}) {
            const vector<Vec3> other = moved(moved(best, axis, 0, -center), axis, angle, center);
            CHECK(sumOfSquares(other, MOLECULE) > sumOfSquares(best, MOLECULE));
        }
}

TEST(superposition, points_on_a_line_and_a_point_alone) {
    const vector<Vec3> line = {{0, 0, 0}, {0.1, 0, 0}, {0.3, 0, 0}};
    CHECK(largestDistance(superpose(moved(line, {0, 0, 1}, M_PI / 2, {1, 1, 1}), line), line) < 1e-14);
    CHECK(largestDistance(superpose({{1, 2, 3}}, {{4, 5, 6}}), {{4, 5, 6}}) == 0);
}
