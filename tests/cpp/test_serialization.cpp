#include "AtmosIntegrator.h"
#include "AtmosIntegratorProxy.h"
#include "check.h"
#include "torsion_cases.h"

#include "openmm/serialization/XmlSerializer.h"
#include <memory>

using namespace AtmosPlugin;
using namespace OpenMM;
using namespace std;

namespace {

/** An integrator in which no setting has its default value. */
void configure(AtmosIntegrator& integrator) {
    integrator.setConstraintTolerance(1e-7 / 3);
    integrator.setRandomNumberSeed(12);
    integrator.setIntegrationForceGroups(0b1011);
    integrator.setModule(string("4 2 1 \0\xff\n", 9), {7, 5, 6, 0});
    integrator.setJumpInterval(13);
    integrator.setLag(100.0 / 7);
    integrator.setAcceptanceMode("none");
    integrator.setEnergyWindow(2.0 / 3);
    integrator.setWindowSamples(14);
    integrator.setRelaxationStages({15, 16});
    integrator.setRelaxationTolerance(1.7);
    integrator.setJumpSeed((1ll << 53) - 1);
    integrator.setTorchThreads(3);
    integrator.setCheckpointRestore("always");
    integrator.setProposalRecording(18, true);
    ScreenParameters screen;
    screen.bonds = {0, 1, 1, 2, 2, 0};
    screen.bondLengths = {0.1, 0.2, 1.0 / 3};
    screen.bondTolerance = 0.01;
    screen.chiralCenters = {3, 0, 1, 2};
    screen.chiralSigns = {-1};
    screen.cisTrans = {0, 1, 2, 3};
    screen.ringSizes = {3};
    screen.ringAtoms = {0, 1, 2};
    screen.radii = {0.12, 0.13, 0.14, 0.15};
    screen.clashFactor = 0.6;
    screen.maxDisplacement = 0.7;
    screen.environmentDistance = 0.08;
    screen.constraintTolerance = 0.09;
    screen.fragmentSizes = {1};
    screen.fragmentAtoms = {3};
    screen.anchorSizes = {3};
    screen.anchorAtoms = {0, 1, 2};
    integrator.setScreen(screen);
    integrator.setDynamics("hmc");
    integrator.setMovesPerJump(4);
    integrator.setMoveShares({1, 2, 3, 4, 5, 6, 1.0 / 7});
    integrator.setSmallMoveWidth(1.0 / 11);
    integrator.setTorsionMoves(AtmosTests::twoBlocks());
}

void checkEqual(const AtmosIntegrator& found, const AtmosIntegrator& expected) {
    CHECK_EQUAL(found.getTemperature(), expected.getTemperature());
    CHECK_EQUAL(found.getFriction(), expected.getFriction());
    CHECK_EQUAL(found.getStepSize(), expected.getStepSize());
    CHECK_EQUAL(found.getConstraintTolerance(), expected.getConstraintTolerance());
    CHECK_EQUAL(found.getRandomNumberSeed(), expected.getRandomNumberSeed());
    CHECK_EQUAL(found.getIntegrationForceGroups(), expected.getIntegrationForceGroups());
    CHECK(found.getModule() == expected.getModule());
    CHECK(found.getAtomIndices() == expected.getAtomIndices());
    CHECK_EQUAL(found.getJumpInterval(), expected.getJumpInterval());
    CHECK_EQUAL(found.getLag(), expected.getLag());
    CHECK_EQUAL(found.getAcceptanceMode(), expected.getAcceptanceMode());
    CHECK_EQUAL(found.getEnergyWindow(), expected.getEnergyWindow());
    CHECK_EQUAL(found.getWindowSamples(), expected.getWindowSamples());
    CHECK(found.getRelaxationStages() == expected.getRelaxationStages());
    CHECK_EQUAL(found.getRelaxationTolerance(), expected.getRelaxationTolerance());
    CHECK_EQUAL(found.getJumpSeed(), expected.getJumpSeed());
    CHECK_EQUAL(found.getTorchThreads(), expected.getTorchThreads());
    CHECK_EQUAL(found.getCheckpointRestore(), expected.getCheckpointRestore());
    CHECK_EQUAL(found.getProposalCapacity(), expected.getProposalCapacity());
    CHECK_EQUAL(found.getKeepProposalPositions(), expected.getKeepProposalPositions());
    CHECK_EQUAL(found.getDynamics(), expected.getDynamics());
    CHECK_EQUAL(found.getMovesPerJump(), expected.getMovesPerJump());
    CHECK(found.getMoveShares() == expected.getMoveShares());
    CHECK_EQUAL(found.getSmallMoveWidth(), expected.getSmallMoveWidth());
    const TorsionParameters &torsions = found.getTorsionMoves(), &others = expected.getTorsionMoves();
    CHECK(torsions.torsionAtoms == others.torsionAtoms);
    CHECK(torsions.groupSizes == others.groupSizes);
    CHECK(torsions.groupAtoms == others.groupAtoms);
    CHECK(torsions.torsionBackbone == others.torsionBackbone);
    CHECK(torsions.blockSizes == others.blockSizes);
    CHECK(torsions.blockPrevious == others.blockPrevious);
    CHECK_EQUAL(torsions.uniformWeight, others.uniformWeight);
    CHECK(torsions.componentCounts == others.componentCounts);
    CHECK(torsions.hasLocal == others.hasLocal);
    CHECK(torsions.means == others.means);
    CHECK(torsions.covariances == others.covariances);
    CHECK(torsions.localCovariances == others.localCovariances);
    CHECK(torsions.gateCounts == others.gateCounts);
    CHECK(torsions.gateTorsions == others.gateTorsions);
    CHECK(torsions.sequentialGates == others.sequentialGates);
    CHECK(torsions.conditionalGates == others.conditionalGates);
    const ScreenParameters &screen = found.getScreen(), &other = expected.getScreen();
    CHECK(screen.bonds == other.bonds);
    CHECK(screen.bondLengths == other.bondLengths);
    CHECK_EQUAL(screen.bondTolerance, other.bondTolerance);
    CHECK(screen.chiralCenters == other.chiralCenters);
    CHECK(screen.chiralSigns == other.chiralSigns);
    CHECK(screen.cisTrans == other.cisTrans);
    CHECK(screen.ringSizes == other.ringSizes);
    CHECK(screen.ringAtoms == other.ringAtoms);
    CHECK(screen.radii == other.radii);
    CHECK_EQUAL(screen.clashFactor, other.clashFactor);
    CHECK_EQUAL(screen.maxDisplacement, other.maxDisplacement);
    CHECK_EQUAL(screen.environmentDistance, other.environmentDistance);
    CHECK_EQUAL(screen.constraintTolerance, other.constraintTolerance);
    CHECK(screen.fragmentSizes == other.fragmentSizes);
    CHECK(screen.fragmentAtoms == other.fragmentAtoms);
    CHECK(screen.anchorSizes == other.anchorSizes);
    CHECK(screen.anchorAtoms == other.anchorAtoms);
}

string toXml(const AtmosIntegrator& integrator) {
    registerAtmosIntegratorProxy();
    stringstream stream;
    XmlSerializer::serialize<AtmosIntegrator>(&integrator, "Integrator", stream);
    return stream.str();
}

unique_ptr<AtmosIntegrator> fromXml(const string& xml) {
    stringstream stream(xml);
    return unique_ptr<AtmosIntegrator>(XmlSerializer::deserialize<AtmosIntegrator>(stream));
}

string replaced(string text, const string& from, const string& to) {
    const size_t place = text.find(from);
    CHECK(place != string::npos);
    return place == string::npos ? text : text.replace(place, from.size(), to);
}

} // namespace

TEST(serialization, every_setting_survives) {
    AtmosIntegrator integrator(300.1, 1.0 / 3, 0.002);
    configure(integrator);
    const string xml = toXml(integrator);
    const auto found = fromXml(xml);
    checkEqual(*found, integrator);
    CHECK(toXml(*found) == xml);
}

TEST(serialization, no_setting_of_the_test_is_a_default) {
    // Else the test above could not tell a setting that is left out.

    AtmosIntegrator configured(300.1, 1.0 / 3, 0.002), plain(300.1, 1.0 / 3, 0.002);
    configure(configured);
    stringstream first(toXml(configured)), second(toXml(plain));
    string line, other;
    while (getline(first, line) && getline(second, other) && line.find("<Integrator ") == string::npos)
        CHECK_EQUAL(line, other);
    for (const char* name : {"constraintTolerance", "randomSeed", "integrationForceGroups", "jumpInterval", "lag", "acceptanceMode",
                             "energyWindow", "windowSamples", "relaxationTolerance", "jumpSeed", "torchThreads", "checkpointRestore",
                             "proposalCapacity", "keepProposalPositions", "dynamics", "movesPerJump", "smallMoveWidth"}) {
        const auto setting = [&](const string& text) {
            const size_t start = text.find(string(" ") + name + "=\"");
            CHECK(start != string::npos);
            return text.substr(start, text.find('"', start + string(name).size() + 3) - start);
        };
        CHECK(setting(line) != setting(other));
    }
}

TEST(serialization, an_integrator_without_a_module_survives) {
    AtmosIntegrator integrator(300, 1, 0.001);
    const auto found = fromXml(toXml(integrator));
    checkEqual(*found, integrator);
    CHECK_EQUAL(found->getModule(), "");
}

TEST(serialization, copies_have_every_setting) {
    AtmosIntegrator integrator(300.1, 1.0 / 3, 0.002);
    configure(integrator);
    registerAtmosIntegratorProxy();
    const unique_ptr<AtmosIntegrator> copy(XmlSerializer::clone<AtmosIntegrator>(integrator));
    checkEqual(*copy, integrator);

    // What changes while a simulation runs stays behind.

    integrator.setHiddenState({1, 2});
    integrator.setWindowStatistics(5, -1, 1);
    const unique_ptr<AtmosIntegrator> fresh(XmlSerializer::clone<AtmosIntegrator>(integrator));
    CHECK(fresh->getHiddenState().empty());
    CHECK_EQUAL(fresh->getNumWindowSamples(), 0);
}

TEST(serialization, other_versions_are_refused) {
    AtmosIntegrator integrator(300, 1, 0.001);
    const string xml = toXml(integrator);
    for (const char* version : {"0", "4"})
        CHECK_THROWS(fromXml(replaced(xml, " version=\"3\"", string(" version=\"") + version + "\"")), "Unsupported version number");
    CHECK_THROWS(fromXml(replaced(xml, " version=\"3\"", "")), "version");
}

TEST(serialization, version_1_is_read) {
    // It had no torsional moves.

    AtmosIntegrator integrator(300, 1, 0.001);
    integrator.setLag(12.5);
    string xml = replaced(toXml(integrator), " version=\"3\"", " version=\"1\"");
    for (const char* name : {"dynamics", "movesPerJump", "smallMoveWidth"}) {
        const size_t start = xml.find(string(" ") + name + "=\"");
        xml.erase(start, xml.find('"', start + string(name).size() + 3) + 1 - start);
    }
    xml = replaced(xml, "<MoveShares/>", "");
    checkEqual(*fromXml(xml), integrator);
}

TEST(serialization, version_2_is_read) {
    // Its screens had no fragments.

    AtmosIntegrator integrator(300, 1, 0.001);
    integrator.setMovesPerJump(3);
    string xml = replaced(toXml(integrator), " version=\"3\"", " version=\"2\"");
    for (const char* name : {"FragmentSizes", "FragmentAtoms", "AnchorSizes", "AnchorAtoms"})
        xml = replaced(xml, string("<") + name + "/>", "");
    checkEqual(*fromXml(xml), integrator);
}

TEST(serialization, damaged_xml_is_refused) {
    AtmosIntegrator integrator(300.1, 1.0 / 3, 0.002);
    configure(integrator);
    const string xml = toXml(integrator);
    CHECK_THROWS(fromXml(replaced(xml, "base64=\"", "base64=\"!")), "not base64 text");
    CHECK_THROWS(fromXml(replaced(xml, "base64=\"NCAy", "base64=\"eCAy")), "cannot load the propagator module: this is no archive");
    CHECK_THROWS(fromXml(replaced(xml, "jumpInterval=\"13\"", "jumpInterval=\"-13\"")), "the jump interval is -13");
    CHECK_THROWS(fromXml(replaced(xml, "jumpInterval=\"13\"", "")), "jumpInterval");
    CHECK_THROWS(fromXml(xml.substr(0, xml.size() / 2)), "");
}
