#ifndef ATMOS_NOISE_H_
#define ATMOS_NOISE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace AtmosPlugin {

/**
 * The random numbers of the jumps: a stateless function of (seed, stream, attempt).  Nothing is
 * advanced and nothing has to be saved, so a run that is continued from a checkpoint, in another
 * process or in the Python driver sees the same numbers.  docs/architecture.md, "Noise", gives the
 * formulas; the mixing function is the finaliser of SplitMix64.
 */
namespace Noise {

/** Which use the numbers are for.  Streams of one attempt are independent of each other. */
enum Stream : std::uint64_t { PROPOSAL = 0, VELOCITIES = 1, ACCEPTANCE = 2, MOVES = 3, TRAJECTORIES = 4, TRIALS = 6, TRIAL_ACCEPTANCE = 7 };

/**
 * Get uniform random numbers in the open interval (0, 1).
 *
 * @param seed      the seed of the jumps
 * @param stream    which use the numbers are for
 * @param attempt   the number of the proposal, from 0
 * @param count     how many numbers to return
 */
std::vector<double> uniforms(std::uint64_t seed, std::uint64_t stream, std::uint64_t attempt, std::size_t count);

/**
 * Get normal random numbers of mean 0 and variance 1 (Box and Muller's transform of uniforms()).
 *
 * @param seed      the seed of the jumps
 * @param stream    which use the numbers are for
 * @param attempt   the number of the proposal, from 0
 * @param count     how many numbers to return
 */
std::vector<double> gaussians(std::uint64_t seed, std::uint64_t stream, std::uint64_t attempt, std::size_t count);

/** The numbers of one attempt, one after the other. */
class Draws {
public:
    Draws(std::uint64_t seed, std::uint64_t stream, std::uint64_t attempt);
    /** Take one number of uniforms(). */
    double uniform();
    /** Take a normal random number, from two numbers of uniforms(). */
    double normal();

private:
    std::uint64_t key, next = 0;
};

/**
 * Draw a seed from the operating system's source of entropy.  It is never 0 and fits in 53 bits, so
 * that it survives a passage through a double or through JSON.
 */
std::uint64_t drawSeed();

} // namespace Noise
} // namespace AtmosPlugin

#endif // ATMOS_NOISE_H_
