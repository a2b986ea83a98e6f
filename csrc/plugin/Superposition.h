#ifndef ATMOS_SUPERPOSITION_H_
#define ATMOS_SUPERPOSITION_H_

#include "openmm/Vec3.h"
#include <vector>

namespace AtmosPlugin {

/**
 * Get the unweighted mean of a set of points.
 *
 * @param points   the points (in nm); there must be at least one
 */
OpenMM::Vec3 centroid(const std::vector<OpenMM::Vec3>& points);

/**
 * Move a set of points rigidly onto a reference so that the sum of squared distances is least.  Only
 * proper rotations are used: a mirror image stays a mirror image.  Each point has the same weight.
 * The optimal rotation is the unit quaternion that belongs to the largest eigenvalue of Horn's
 * symmetric 4x4 matrix (J. Opt. Soc. Am. A 4, 629, 1987), found with cyclic Jacobi sweeps in double
 * precision, so the result does not depend on a linear algebra library.
 *
 * @param points      the points to move (in nm)
 * @param reference   where to move them (in nm), as many as there are points
 * @return the moved points, whose centroid is that of the reference
 */
std::vector<OpenMM::Vec3> superpose(const std::vector<OpenMM::Vec3>& points, const std::vector<OpenMM::Vec3>& reference);
/**
 * Move a set of points rigidly so that some of them come onto theirs in a reference; the others move along.
 *
 * @param points      the points to move (in nm)
 * @param reference   where to move them (in nm), as many as there are points
 * @param fit         the numbers of the points that are fitted
 * @return the moved points
 */
std::vector<OpenMM::Vec3> superpose(const std::vector<OpenMM::Vec3>& points, const std::vector<OpenMM::Vec3>& reference,
                                    const std::vector<int>& fit);

} // namespace AtmosPlugin

#endif // ATMOS_SUPERPOSITION_H_
