#include "Base64.h"

#include "openmm/OpenMMException.h"
#include <cctype>
#include <cstdint>

using namespace OpenMM;
using namespace std;

namespace AtmosPlugin {

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

string encodeBase64(const string& bytes) {
    string text;
    text.reserve((bytes.size() + 2) / 3 * 4);
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t group = 0;
        for (size_t k = 0; k < 3; k++)
            group = group << 8 | (i + k < bytes.size() ? static_cast<unsigned char>(bytes[i + k]) : 0u);
        for (size_t k = 0; k < 4; k++)
            text += i + k <= bytes.size() ? ALPHABET[group >> (18 - 6 * k) & 63] : '=';
    }
    return text;
}

static int decodeCharacter(char c) {
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+')
        return 62;
    return c == '/' ? 63 : -1;
}

string decodeBase64(const string& text) {
    string bytes;
    bytes.reserve(text.size() / 4 * 3);
    uint32_t group = 0;
    int bits = 0;
    bool padded = false;
    for (char c : text) {
        if (isspace(static_cast<unsigned char>(c)))
            continue;
        if (c == '=') {
            padded = true;
            continue;
        }
        const int value = decodeCharacter(c);
        if (value < 0 || padded)
            throw OpenMMException("AtmosIntegrator: the embedded data is damaged: it is not base64 text");
        group = group << 6 | static_cast<uint32_t>(value);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            bytes += static_cast<char>(group >> bits & 255);
        }
    }
    return bytes;
}

} // namespace AtmosPlugin
