#include "Base64.h"
#include "check.h"

#include <utility>
#include <vector>

using namespace AtmosPlugin;
using namespace std;

TEST(base64, rfc_4648_test_vectors) {
    const vector<pair<string, string>> vectors = {{"", ""},         {"f", "Zg=="},     {"fo", "Zm8="},        {"foo", "Zm9v"},
                                                  {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    for (const auto& [bytes, text] : vectors) {
        CHECK_EQUAL(encodeBase64(bytes), text);
        CHECK_EQUAL(decodeBase64(text), bytes);
    }
}

TEST(base64, every_byte_comes_back) {
    string bytes;
    for (int i = 0; i < 256; i++)
        bytes += static_cast<char>(i);
    for (size_t length = 254; length <= 256; length++)
        CHECK(decodeBase64(encodeBase64(bytes.substr(0, length))) == bytes.substr(0, length));
    CHECK_EQUAL(encodeBase64("\xfb\xff\xfe"), "+//+");
}

TEST(base64, white_space_is_skipped) {
    CHECK_EQUAL(decodeBase64(" Zm9v\n\tYmFy \r\n"), "foobar");
}

TEST(base64, other_text_is_refused) {
    for (const char* text : {"Zm9v!", "Zm-v", "Zg==Zg==", "Z\xff\xff="})
        CHECK_THROWS(decodeBase64(text), "not base64 text");
}
