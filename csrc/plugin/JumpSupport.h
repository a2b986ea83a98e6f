#ifndef ATMOS_JUMPSUPPORT_H_
#define ATMOS_JUMPSUPPORT_H_

#include "AtmosIntegrator.h"

namespace AtmosPlugin {

/** The Context as it was before a jump. */
struct AtmosIntegrator::Snapshot {
    std::vector<OpenMM::Vec3> positions, velocities;
    // A checkpoint of the Context, where one is used.
    std::string checkpoint;
};

/** Decide whether an exception says that the energy of a frame is not a number. */
inline bool reportsNaN(const std::exception& error) {
    return std::string(error.what()).find("NaN") != std::string::npos;
}

} // namespace AtmosPlugin

#endif // ATMOS_JUMPSUPPORT_H_
