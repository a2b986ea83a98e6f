#ifndef ATMOS_PROPAGATORMODULE_H_
#define ATMOS_PROPAGATORMODULE_H_

#include <memory>
#include <string>
#include <vector>

namespace AtmosPlugin {

/**
 * A bound model: new positions of one molecule from its positions, a state and noise.  This header
 * names no machine learning library, so another kind of model can take the place of TorchScript.
 *
 * Objects come from load().  That opens the library that holds the implementation the first time it
 * is called, so a process that never jumps never loads torch.  A module keeps nothing between calls,
 * so the integrators of any number of Contexts share one.
 */
class PropagatorModule {
public:
    /** What the module returned. */
    struct Result {
        /** The new positions: x0, y0, z0, x1, ... (in nm), in an arbitrary orientation. */
        std::vector<float> positions;
        /** The new state. */
        std::vector<float> state;
        /** The logarithm of the ratio of proposal densities, where the model knows it. */
        double logRatio = 0;
    };

    /**
     * @param bytes   the archive that the module is loaded from
     */
    explicit PropagatorModule(const std::string& bytes) : bytes(bytes) {}
    virtual ~PropagatorModule() = default;
    PropagatorModule(const PropagatorModule&) = delete;
    PropagatorModule& operator=(const PropagatorModule&) = delete;
    /** The archive that the module was loaded from. */
    const std::string& getBytes() const { return bytes; }
    /** How many atoms the module moves. */
    virtual int getNumAtoms() const = 0;
    /** How many numbers its state has; 0 for a module without memory. */
    virtual int getStateSize() const = 0;
    /** How many normal random numbers one call takes. */
    virtual int getNoiseSize() const = 0;
    /**
     * Call the module.
     *
     * @param positions     the centred positions: x0, y0, z0, x1, ... (in nm)
     * @param state         the state, getStateSize() numbers; zeros mean no history
     * @param noise         getNoiseSize() normal random numbers
     * @param lag           the time to move ahead (in ps)
     * @param temperature   the temperature (in Kelvin)
     * @param numThreads    how many threads to use; 0 leaves the number as it is.  The number that
     *                      was set before is restored on the way out
     * @throws std::runtime_error with the cause in one line when the module raises or returns
     *         something of another shape or type
     */
    virtual Result propagate(const std::vector<float>& positions, const std::vector<float>& state, const std::vector<float>& noise, double lag,
                             double temperature, int numThreads) const = 0;

    /**
     * Load a TorchScript module with the methods propagate, num_atoms, state_size and noise_size.  While a
     * module is in use, the same archive is not loaded again: the callers share it.
     *
     * @param bytes   the content of the TorchScript archive
     * @throws OpenMMException with the cause in one line
     */
    static std::shared_ptr<const PropagatorModule> load(const std::string& bytes);
    /**
     * Set a function that load() calls first, each time.  The Python layer uses it to import torch and the
     * operator library.  It throws to report a failure.
     */
    static void setPrepareFunction(void (*prepare)());

private:
    std::string bytes;
};

/** What the library with the implementation exports: atmosLoadPropagatorModule. */
using PropagatorModuleFactory = PropagatorModule* (*)(const std::string& bytes);

} // namespace AtmosPlugin

#endif // ATMOS_PROPAGATORMODULE_H_
