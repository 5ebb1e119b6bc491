import EntractePlan
import Foundation

/// The right plans of `tests/vectors/plans.json`, and what was changed in them.
public struct HostilePlans: Sendable {
    /// Read once: parsing takes a second in a debug build.
    public static let shared = Result { try HostilePlans() }

    public let plans: [String: JSON]
    public let hashes: [String: String]
    public let records: [JSON]

    public init() throws {
        let all = try JSON(parsing: Vectors.data("plans.json")).asList ?? []
        plans = Dictionary(uniqueKeysWithValues: all.map { ($0["name"]?.asText ?? "", $0["plan"] ?? .null) })
        hashes = Dictionary(
            uniqueKeysWithValues: all.map { ($0["name"]?.asText ?? "", $0["file_sha256"]?.asText ?? "") })
        records = try JSON(parsing: Vectors.data("hostile_plans.json")).asList ?? []
    }

    /// A plan's JSON in its frame.
    public static func framed(_ body: Data) -> Data {
        Data("{\"sha256\":\"\(SHA256.hex(body))\",\"plan\":\n".utf8) + body + Data("\n}\n".utf8)
    }

    public static func written(_ plan: JSON) -> Data { plan.data(order: .sorted, indent: 1) }

    /// The file that a record describes.
    public func file(_ record: JSON) -> Data {
        let plan = plans[record["plan"]?.asText ?? ""] ?? .null
        if let edits = record["edits"]?.asList { return Self.framed(Self.edited(plan, edits)) }
        let splice = record["splice"]?.asList ?? []
        let put = Data(base64Encoded: splice[2].asText ?? "") ?? Data()
        let sealed = record["sealed"] == .flag(true)
        var data = sealed ? Self.written(plan) : Self.framed(Self.written(plan))
        let start = splice[0].asWhole ?? 0
        data.replaceSubrange(start ..< start + (splice[1].asWhole ?? 0), with: put)
        return sealed ? Self.framed(data) : data
    }

    /// Values stand in edits as JSON's text: some of them JSON has no word for.
    private static func edited(_ plan: JSON, _ edits: [JSON]) -> Data {
        var made = plan
        for (k, edit) in edits.enumerated() {
            let path = edit[0]?.asList ?? []
            let mark = JSON.text("@edit\(k)@")
            if let from = edit[2]?.asWhole, let count = edit[3]?.asWhole {
                let items = (at(made, path[...]).asList ?? [])
                made = put(made, path[...], .list(items[..<from] + [mark] + items[(from + count)...]))
            } else {
                made = put(made, path[...], edit[1] == nil ? nil : mark)
            }
        }
        var text = String(decoding: written(made), as: UTF8.self)
        for (k, edit) in edits.enumerated() {
            var new = edit[1]?.asText ?? ""
            var mark = "\"@edit\(k)@\""
            if edit[2] != nil {
                // Items of a list, without their brackets; where there are none, without a comma.
                new = String(new.dropFirst().dropLast())
                if new.isEmpty { mark = text.contains(mark + ",") ? mark + "," : mark }
                if new.isEmpty, let found = text.range(of: ",\\s*\(mark)", options: .regularExpression),
                    !mark.hasSuffix(",")
                {
                    mark = String(text[found])
                }
            }
            text = text.replacingOccurrences(of: mark, with: new)
        }
        return Data(text.utf8)
    }

    private static func at(_ value: JSON, _ path: ArraySlice<JSON>) -> JSON {
        guard let first = path.first else { return value }
        let inner = first.asWhole.flatMap { value[$0] } ?? first.asText.flatMap { value[$0] }
        return at(inner ?? .null, path.dropFirst())
    }

    private static func put(_ value: JSON, _ path: ArraySlice<JSON>, _ new: JSON?) -> JSON {
        guard let first = path.first else { return new ?? .null }
        let rest = path.dropFirst()
        if let k = first.asWhole, case .list(var items) = value {
            items[k] = put(items[k], rest, new)
            return .list(items)
        }
        guard let name = first.asText, case .object(var members) = value else { return value }
        let k = members.firstIndex { $0.name.utf8.elementsEqual(name.utf8) }
        if rest.isEmpty, new == nil {
            if let k { members.remove(at: k) }
        } else if let k {
            members[k] = JSON.Member(name, put(members[k].value, rest, new))
        } else {
            members.append(JSON.Member(name, new ?? .null))
        }
        return .object(members)
    }
}
