// The classes of OpenMM that the plugin derives from, as SWIG has to see them.

%module(package="openmm") openmm

namespace OpenMM {

class Integrator {
public:
    virtual ~Integrator();
    virtual void step(int steps) = 0;
protected:
    Integrator();
};

class LangevinMiddleIntegrator : public Integrator {
public:
    LangevinMiddleIntegrator(double temperature, double frictionCoeff, double stepSize);
    virtual void step(int steps);
};

} // namespace OpenMM
