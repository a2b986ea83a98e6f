#ifndef ATMOS_RUNSTATE_H_
#define ATMOS_RUNSTATE_H_

#include "Proposal.h"
#include "openmm/serialization/SerializationNode.h"
#include <array>
#include <cstdint>
#include <iosfwd>
#include <vector>

namespace AtmosPlugin {

/**
 * Everything about the jumps that changes while a simulation runs.  It is what checkpoints and State
 * XML hold, and what a failed jump puts back.
 */
struct RunState {
    /** MD steps since the last due jump. */
    long long stepsSinceJump = 0;
    /** Proposals by outcome; Reason::Accepted is one of them. */
    std::array<long long, NUM_REASONS> outcomes = {};
    /** The sum of the lags of the accepted jumps (in ps). */
    double learnedTime = 0;
    /** The seed in use; 0 before a Context exists. */
    std::uint64_t seed = 0;
    /** The module's state; empty means no history. */
    std::vector<float> hidden;
    /** How many MD energies are known, their mean (in kJ/mol) and sum of squared deviations. */
    long long windowCount = 0;
    double windowMean = 0;
    double windowSumSquares = 0;

    /** How many jumps have been proposed. */
    long long numProposed() const;
    /** Take one more MD energy into the running mean and variance (Welford's update). */
    void addWindowEnergy(double energy);
    /** The sample standard deviation of the MD energies (in kJ/mol); 0 for fewer than two. */
    double windowStandardDeviation() const;

    /** Write the state to a checkpoint. */
    void write(std::ostream& stream) const;
    /** Read what write() wrote; anything else throws an OpenMMException and changes nothing. */
    void read(std::istream& stream);
    /** Write the state to the parameters of a State. */
    void write(OpenMM::SerializationNode& node) const;
    /** Read what write() wrote; anything else throws an OpenMMException and changes nothing. */
    void read(const OpenMM::SerializationNode& node);
};

} // namespace AtmosPlugin

#endif // ATMOS_RUNSTATE_H_
