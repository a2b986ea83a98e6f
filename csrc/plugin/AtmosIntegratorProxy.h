#ifndef ATMOS_ATMOSINTEGRATORPROXY_H_
#define ATMOS_ATMOSINTEGRATORPROXY_H_

#include "openmm/serialization/SerializationProxy.h"

namespace AtmosPlugin {

/**
 * Writes an AtmosIntegrator to XML and reads it back: every setting, the screen, the torsional moves, and the
 * module itself as base64 text, so that the file needs nothing beside it.  What changes while a simulation runs is
 * not in it: that is in checkpoints and in State XML, as OpenMM divides the two.
 */
class AtmosIntegratorProxy : public OpenMM::SerializationProxy {
public:
    AtmosIntegratorProxy();
    void serialize(const void* object, OpenMM::SerializationNode& node) const override;
    void* deserialize(const OpenMM::SerializationNode& node) const override;
};

/** Make the proxy known to OpenMM's XmlSerializer.  Calling it again does nothing. */
void registerAtmosIntegratorProxy();

} // namespace AtmosPlugin

#endif // ATMOS_ATMOSINTEGRATORPROXY_H_
