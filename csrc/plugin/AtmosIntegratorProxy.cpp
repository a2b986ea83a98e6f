#include "AtmosIntegratorProxy.h"

#include "AtmosIntegrator.h"
#include "Base64.h"
#include "openmm/OpenMMException.h"
#include "openmm/serialization/SerializationNode.h"
#include <memory>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

AtmosIntegratorProxy::AtmosIntegratorProxy() : SerializationProxy("AtmosIntegrator") {
}

static void writeIntegers(SerializationNode& parent, const string& name, const vector<int>& values) {
    SerializationNode& node = parent.createChildNode(name);
    for (int value : values)
        node.createChildNode("Item").setIntProperty("value", value);
}

static void writeDoubles(SerializationNode& parent, const string& name, const vector<double>& values) {
    SerializationNode& node = parent.createChildNode(name);
    for (double value : values)
        node.createChildNode("Item").setDoubleProperty("value", value);
}

static vector<int> readIntegers(const SerializationNode& parent, const string& name) {
    vector<int> values;
    for (const SerializationNode& item : parent.getChildNode(name).getChildren())
        values.push_back(item.getIntProperty("value"));
    return values;
}

static vector<double> readDoubles(const SerializationNode& parent, const string& name) {
    vector<double> values;
    for (const SerializationNode& item : parent.getChildNode(name).getChildren())
        values.push_back(item.getDoubleProperty("value"));
    return values;
}

static void writeScreen(SerializationNode& node, const ScreenParameters& screen) {
    node.setDoubleProperty("bondTolerance", screen.bondTolerance);
    node.setDoubleProperty("clashFactor", screen.clashFactor);
    node.setDoubleProperty("maxDisplacement", screen.maxDisplacement);
    node.setDoubleProperty("environmentDistance", screen.environmentDistance);
    node.setDoubleProperty("constraintTolerance", screen.constraintTolerance);
    writeIntegers(node, "Bonds", screen.bonds);
    writeDoubles(node, "BondLengths", screen.bondLengths);
    writeIntegers(node, "ChiralCenters", screen.chiralCenters);
    writeDoubles(node, "ChiralSigns", screen.chiralSigns);
    writeIntegers(node, "CisTrans", screen.cisTrans);
    writeIntegers(node, "RingSizes", screen.ringSizes);
    writeIntegers(node, "RingAtoms", screen.ringAtoms);
    writeDoubles(node, "Radii", screen.radii);
    writeIntegers(node, "FragmentSizes", screen.fragmentSizes);
    writeIntegers(node, "FragmentAtoms", screen.fragmentAtoms);
    writeIntegers(node, "AnchorSizes", screen.anchorSizes);
    writeIntegers(node, "AnchorAtoms", screen.anchorAtoms);
}

static ScreenParameters readScreen(const SerializationNode& node, int version) {
    ScreenParameters screen;
    screen.bondTolerance = node.getDoubleProperty("bondTolerance");
    screen.clashFactor = node.getDoubleProperty("clashFactor");
    screen.maxDisplacement = node.getDoubleProperty("maxDisplacement");
    screen.environmentDistance = node.getDoubleProperty("environmentDistance");
    screen.constraintTolerance = node.getDoubleProperty("constraintTolerance");
    screen.bonds = readIntegers(node, "Bonds");
    screen.bondLengths = readDoubles(node, "BondLengths");
    screen.chiralCenters = readIntegers(node, "ChiralCenters");
    screen.chiralSigns = readDoubles(node, "ChiralSigns");
    screen.cisTrans = readIntegers(node, "CisTrans");
    screen.ringSizes = readIntegers(node, "RingSizes");
    screen.ringAtoms = readIntegers(node, "RingAtoms");
    screen.radii = readDoubles(node, "Radii");
    if (version > 2) {
        screen.fragmentSizes = readIntegers(node, "FragmentSizes");
        screen.fragmentAtoms = readIntegers(node, "FragmentAtoms");
        screen.anchorSizes = readIntegers(node, "AnchorSizes");
        screen.anchorAtoms = readIntegers(node, "AnchorAtoms");
    }
    return screen;
}

static void writeTorsions(SerializationNode& node, const TorsionParameters& torsions) {
    node.setDoubleProperty("uniformWeight", torsions.uniformWeight);
    writeIntegers(node, "TorsionAtoms", torsions.torsionAtoms);
    writeIntegers(node, "GroupSizes", torsions.groupSizes);
    writeIntegers(node, "GroupAtoms", torsions.groupAtoms);
    writeIntegers(node, "TorsionBackbone", torsions.torsionBackbone);
    writeIntegers(node, "BlockSizes", torsions.blockSizes);
    writeIntegers(node, "BlockPrevious", torsions.blockPrevious);
    writeIntegers(node, "ComponentCounts", torsions.componentCounts);
    writeIntegers(node, "HasLocal", torsions.hasLocal);
    writeDoubles(node, "Means", torsions.means);
    writeDoubles(node, "Covariances", torsions.covariances);
    writeDoubles(node, "LocalCovariances", torsions.localCovariances);
    writeIntegers(node, "GateCounts", torsions.gateCounts);
    writeIntegers(node, "GateTorsions", torsions.gateTorsions);
    writeDoubles(node, "SequentialGates", torsions.sequentialGates);
    writeDoubles(node, "ConditionalGates", torsions.conditionalGates);
}

static TorsionParameters readTorsions(const SerializationNode& node) {
    TorsionParameters torsions;
    torsions.uniformWeight = node.getDoubleProperty("uniformWeight");
    torsions.torsionAtoms = readIntegers(node, "TorsionAtoms");
    torsions.groupSizes = readIntegers(node, "GroupSizes");
    torsions.groupAtoms = readIntegers(node, "GroupAtoms");
    torsions.torsionBackbone = readIntegers(node, "TorsionBackbone");
    torsions.blockSizes = readIntegers(node, "BlockSizes");
    torsions.blockPrevious = readIntegers(node, "BlockPrevious");
    torsions.componentCounts = readIntegers(node, "ComponentCounts");
    torsions.hasLocal = readIntegers(node, "HasLocal");
    torsions.means = readDoubles(node, "Means");
    torsions.covariances = readDoubles(node, "Covariances");
    torsions.localCovariances = readDoubles(node, "LocalCovariances");
    torsions.gateCounts = readIntegers(node, "GateCounts");
    torsions.gateTorsions = readIntegers(node, "GateTorsions");
    torsions.sequentialGates = readDoubles(node, "SequentialGates");
    torsions.conditionalGates = readDoubles(node, "ConditionalGates");
    return torsions;
}

void AtmosIntegratorProxy::serialize(const void* object, SerializationNode& node) const {
    const AtmosIntegrator& integrator = *reinterpret_cast<const AtmosIntegrator*>(object);
    node.setIntProperty("version", 3);

    // What the base class has.

    node.setDoubleProperty("stepSize", integrator.getStepSize());
    node.setDoubleProperty("constraintTolerance", integrator.getConstraintTolerance());
    node.setDoubleProperty("temperature", integrator.getTemperature());
    node.setDoubleProperty("friction", integrator.getFriction());
    node.setIntProperty("randomSeed", integrator.getRandomNumberSeed());
    node.setIntProperty("integrationForceGroups", integrator.getIntegrationForceGroups());

    // What the jumps add.

    node.setIntProperty("jumpInterval", integrator.getJumpInterval());
    node.setDoubleProperty("lag", integrator.getLag());
    node.setStringProperty("acceptanceMode", integrator.getAcceptanceMode());
    node.setDoubleProperty("energyWindow", integrator.getEnergyWindow());
    node.setIntProperty("windowSamples", integrator.getWindowSamples());
    node.setDoubleProperty("relaxationTolerance", integrator.getRelaxationTolerance());
    node.setLongProperty("jumpSeed", integrator.getJumpSeed());
    node.setIntProperty("torchThreads", integrator.getTorchThreads());
    node.setStringProperty("checkpointRestore", integrator.getCheckpointRestore());
    node.setIntProperty("proposalCapacity", integrator.getProposalCapacity());
    node.setBoolProperty("keepProposalPositions", integrator.getKeepProposalPositions());
    node.setStringProperty("dynamics", integrator.getDynamics());
    node.setIntProperty("movesPerJump", integrator.getMovesPerJump());
    node.setIntProperty("trialsPerMove", integrator.getTrialsPerMove());
    node.setDoubleProperty("smallMoveWidth", integrator.getSmallMoveWidth());
    writeDoubles(node, "MoveShares", integrator.getMoveShares());
    if (integrator.getTorsionMoves().getNumTorsions() > 0)
        writeTorsions(node.createChildNode("TorsionMoves"), integrator.getTorsionMoves());
    writeIntegers(node, "RelaxationStages", integrator.getRelaxationStages());
    writeIntegers(node, "AtomIndices", integrator.getAtomIndices());
    writeScreen(node.createChildNode("Screen"), integrator.getScreen());
    node.createChildNode("Module").setStringProperty("base64", encodeBase64(integrator.getModule()));
}

void* AtmosIntegratorProxy::deserialize(const SerializationNode& node) const {
    // Version 1 knew no torsional moves, version 2 no fragments.

    const int version = node.getIntProperty("version");
    if (version < 1 || version > 3)
        throw OpenMMException("Unsupported version number");
    auto integrator = make_unique<AtmosIntegrator>(node.getDoubleProperty("temperature"), node.getDoubleProperty("friction"),
                                                   node.getDoubleProperty("stepSize"));
    integrator->setConstraintTolerance(node.getDoubleProperty("constraintTolerance"));
    integrator->setRandomNumberSeed(node.getIntProperty("randomSeed"));
    integrator->setIntegrationForceGroups(node.getIntProperty("integrationForceGroups"));
    integrator->setJumpInterval(node.getIntProperty("jumpInterval"));
    integrator->setLag(node.getDoubleProperty("lag"));
    integrator->setAcceptanceMode(node.getStringProperty("acceptanceMode"));
    integrator->setEnergyWindow(node.getDoubleProperty("energyWindow"));
    integrator->setWindowSamples(node.getIntProperty("windowSamples"));
    integrator->setRelaxationTolerance(node.getDoubleProperty("relaxationTolerance"));
    integrator->setJumpSeed(node.getLongProperty("jumpSeed"));
    integrator->setTorchThreads(node.getIntProperty("torchThreads"));
    integrator->setCheckpointRestore(node.getStringProperty("checkpointRestore"));
    integrator->setProposalRecording(node.getIntProperty("proposalCapacity"), node.getBoolProperty("keepProposalPositions"));
    integrator->setRelaxationStages(readIntegers(node, "RelaxationStages"));
    const string bytes = decodeBase64(node.getChildNode("Module").getStringProperty("base64"));
    if (!bytes.empty())
        integrator->setModule(bytes, readIntegers(node, "AtomIndices"));
    integrator->setScreen(readScreen(node.getChildNode("Screen"), version));
    if (version == 1)
        return integrator.release();
    integrator->setDynamics(node.getStringProperty("dynamics"));
    integrator->setMovesPerJump(node.getIntProperty("movesPerJump"));
    integrator->setTrialsPerMove(node.getIntProperty("trialsPerMove", 1));
    integrator->setSmallMoveWidth(node.getDoubleProperty("smallMoveWidth"));
    integrator->setMoveShares(readDoubles(node, "MoveShares"));
    for (const SerializationNode& child : node.getChildren())
        if (child.getName() == "TorsionMoves")
            integrator->setTorsionMoves(readTorsions(child));
    return integrator.release();
}

void registerAtmosIntegratorProxy() {
    static const bool registered = [] {
        SerializationProxy::registerProxy(typeid(AtmosIntegrator), new AtmosIntegratorProxy());
        return true;
    }();
    (void) registered;
}

} // namespace AtmosPlugin
