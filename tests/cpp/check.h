// What a test is written with. TEST(group, name) { ... } adds a test; a failed check is printed with
// its place, and the test goes on.
#ifndef ATMOS_TESTS_CHECK_H_
#define ATMOS_TESTS_CHECK_H_

#include <exception>
#include <limits>
#include <sstream>
#include <string>

namespace AtmosTests {

/** Add a test to those that main() runs. */
bool addTest(const char* group, const char* name, void (*run)());

/** Note a failure. */
void fail(const char* file, int line, const std::string& what);

template <class T>
std::string show(const T& value) {
    std::stringstream text;
    text.precision(std::numeric_limits<double>::max_digits10);
    text << value;
    return text.str();
}

} // namespace AtmosTests

#define TEST(group, name)                                                                \
    static void name();                                                                  \
    static const bool name##IsAdded = AtmosTests::addTest(#group, #name, name);          \
    static void name()

#define CHECK(condition)                                                                 \
    do {                                                                                 \
        if (!(condition))                                                                \
            AtmosTests::fail(__FILE__, __LINE__, #condition);                            \
    } while (false)

#define CHECK_EQUAL(found, expected)                                                     \
    do {                                                                                 \
        const auto& foundValue = (found);                                                \
        const auto& expectedValue = (expected);                                          \
        if (!(foundValue == expectedValue))                                              \
            AtmosTests::fail(__FILE__, __LINE__,                                         \
                             std::string(#found " is ") + AtmosTests::show(foundValue) + \
                                     ", expected " + AtmosTests::show(expectedValue));   \
    } while (false)

#define CHECK_NEAR(found, expected, tolerance)                                           \
    do {                                                                                 \
        const double foundValue = (found), expectedValue = (expected);                   \
        const double difference = foundValue - expectedValue;                            \
        if (!(difference <= (tolerance) && -difference <= (tolerance)))                  \
            AtmosTests::fail(__FILE__, __LINE__,                                         \
                             std::string(#found " is ") + AtmosTests::show(foundValue) + \
                                     ", expected " + AtmosTests::show(expectedValue));   \
    } while (false)

/** The action throws, and the message holds the text. */
#define CHECK_THROWS(action, text)                                                       \
    do {                                                                                 \
        std::string message = "nothing was thrown";                                      \
        try {                                                                            \
            action;                                                                      \
        } catch (const std::exception& error) {                                          \
            message = error.what();                                                      \
        }                                                                                \
        if (message.find(text) == std::string::npos)                                     \
            AtmosTests::fail(__FILE__, __LINE__, #action ": " + message);                \
    } while (false)

#endif // ATMOS_TESTS_CHECK_H_
