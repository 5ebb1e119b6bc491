import Foundation
import Testing

@testable import EntractePlan

@Test(arguments: [
    ("null", JSON.null), ("true", .flag(true)), ("[]", .list([])), ("{}", .object([])), ("1", .whole(1)),
    ("1.0", .number(1)), ("-0", .whole(0)), ("1e2", .number(100)), ("0.1", .number(0.1)),
    ("-9223372036854775808", .whole(.min)), ("5e-324", .number(.leastNonzeroMagnitude)),
    ("123456789012345678e-10", .number(12345678.9012345678)),
    ("1.7976931348623157e308", .number(.greatestFiniteMagnitude)),
    ("\"a\\u00e9\\n\\ud83d\\ude00\\/\"", .text("a\u{e9}\n\u{1F600}/")), ("\"\u{1F600}\"", .text("\u{1F600}")),
    (" { \"a\" : [ 1 , { \"b\" : null } ] } ",
        .object([.init("a", .list([.whole(1), .object([.init("b", .null)])]))])),
])
func valuesAreRead(text: String, value: JSON) throws {
    #expect(try JSON(parsing: text) == value)
    #expect(try JSON(parsing: value.data()) == value)
    #expect(try JSON(parsing: value.data(order: .sorted, indent: 1)) == value)
}

@Test(arguments: [
    ("", "Expecting value: line 1 column 1 (char 0)"), ("[1,]", "Expecting value: line 1 column 4 (char 3)"),
    ("{\"a\" 1}", "Expecting ':' delimiter: line 1 column 6 (char 5)"),
    ("[1\n2]", "Expecting ',' delimiter: line 2 column 1 (char 3)"),
    ("\"abc", "Unterminated string starting at: line 1 column 1 (char 0)"),
    ("\"a\\", "Unterminated string starting at: line 1 column 1 (char 0)"),
    ("\"a\\x\"", "Invalid \\escape: line 1 column 3 (char 2)"),
    ("\"\\u12\"", "Invalid \\uXXXX escape: line 1 column 3 (char 2)"),
    ("\"\u{1}\"", "Invalid control character at: line 1 column 2 (char 1)"),
    ("1 2", "Extra data: line 1 column 3 (char 2)"),
    ("01", "Extra data: line 1 column 2 (char 1)"),
    ("[1.]", "Expecting ',' delimiter: line 1 column 3 (char 2)"),
    ("{1:2}", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ("[NaN]", "NaN is not finite, and JSON has no such number"),
    ("-Infinity", "-Infinity is not finite, and JSON has no such number"),
    ("{\"a\":1,\"b\":2,\"a\":3}", "'a' stands in it twice"),
    ("{\"a\":1,\"\\u0061\":2}", "'a' stands in it twice"),
    ("\"\\ud800\"", "half of a surrogate pair stands in it"),
    ("\"\\udc00\\ud800\"", "half of a surrogate pair stands in it"),
    ("9223372036854775808", "9223372036854775808 does not fit into 64 bits"), ("1e999", "inf is not finite"),
])
func faultsAreTold(text: String, message: String) throws {
    #expect(throws: JSONError(message: message)) { try JSON(parsing: text) }
}

@Test func nestingEnds() throws {
    let right = String(repeating: "[", count: 80) + String(repeating: "]", count: 80)
    #expect(throws: Never.self) { try JSON(parsing: right) }
    #expect(throws: JSONError(message: "nested too deeply")) { try JSON(parsing: "[" + right + "]") }
    #expect(throws: JSONError(message: "nested too deeply")) {
        try JSON(parsing: String(repeating: "{\"a\":", count: 1_000_000))
    }
}

@Test(arguments: [
    [0xC0, 0x80], [0xED, 0xA0, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xE2, 0x82], [0x80],
    [0xF0, 0x80, 0x80, 0x80],
] as [[UInt8]])
func badBytesAreRefused(bytes: [UInt8]) throws {
    let data = Data([0x22] + bytes + [0x22])
    #expect(throws: JSONError(message: "byte 1 is not UTF-8")) { try JSON(parsing: data) }
}

@Test func manyKeysAreKeptApart() throws {
    let members = (0 ..< 100).map { "\"k\($0)\": \($0)" }
    let value = try JSON(parsing: "{\(members.joined(separator: ","))}")
    #expect(value["k99"] == .whole(99))
    #expect(throws: JSONError(message: "'k5' stands in it twice")) {
        try JSON(parsing: "{\(members.joined(separator: ",")), \"k5\": 0}")
    }
    // Canonically equivalent, but not the same name.
    #expect(try JSON(parsing: "{\"\u{e9}\": 1, \"e\u{301}\": 2}")["e\u{301}"] == .whole(2))
}

@Test(arguments: [
    (1e16, "1e+16"), (1e15, "1000000000000000.0"), (1.5e-5, "1.5e-05"), (0.0001, "0.0001"),
    (123.456, "123.456"),
    (1e100, "1e+100"), (-0.0, "-0.0"), (9007199254740992, "9007199254740992.0"), (1.2345e17, "1.2345e+17"),
])
func numbersAreSpelledAsPythonSpellsThem(value: Double, text: String) {
    #expect(words(value) == text)
}
