// Runs the tests of one group, or all of them: atmos_tests [GROUP]

#include "check.h"

#include <iostream>
#include <vector>

namespace AtmosTests {

namespace {

struct Test {
    std::string group, name;
    void (*run)();
};

int numFailures = 0;

std::vector<Test>& tests() {
    static std::vector<Test> all;
    return all;
}

} // namespace

bool addTest(const char* group, const char* name, void (*run)()) {
    tests().push_back({group, name, run});
    return true;
}

void fail(const char* file, int line, const std::string& what) {
    numFailures++;
    std::cout << file << ":" << line << ": " << what << std::endl;
}

static int runTests(const std::string& group) {
    int numRun = 0;
    for (const Test& test : tests()) {
        if (!group.empty() && test.group != group)
            continue;
        numRun++;
        std::cout << test.group << ": " << test.name << std::endl;
        try {
            test.run();
        } catch (const std::exception& error) {
            fail(test.name.c_str(), 0, error.what());
        }
    }
    std::cout << numRun << " tests, " << numFailures << " failures" << std::endl;
    return numRun > 0 && numFailures == 0 ? 0 : 1;
}

} // namespace AtmosTests

int main(int numArguments, char** arguments) {
    return AtmosTests::runTests(numArguments > 1 ? arguments[1] : "");
}
