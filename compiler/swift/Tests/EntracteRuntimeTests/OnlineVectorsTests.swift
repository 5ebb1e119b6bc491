import EntractePlan
import EntracteSupport
import Foundation
import Testing

@testable import EntracteRuntime

/// `tests/vectors/online.json`: every decision of the online rule, and its ledger after each event.
@Suite struct OnlineVectorsTests {
    static let vectors: [OnlineVector] = {
        struct File: Decodable { let vectors: [OnlineVector] }
        guard let data = try? Vectors.data("online.json"),
            let file = try? JSONDecoder().decode(File.self, from: data)
        else { return [] }
        return file.vectors
    }()

    @Test func thereAreVectors() { #expect(Self.vectors.count >= 30) }

    @Test(arguments: vectors) func theRuleGivesTheVectorsDecisions(_ vector: OnlineVector) throws {
        let table = try vector.table()
        #expect(table.levels == vector.kept.map { Table.Level(slower: Int($0.slower), chunks: $0.chunks) })
        var rule = try OnlineRule(table)
        for (n, moment) in vector.trace.enumerated() {
            let decisions = moment.event.map { rule.react($0) } ?? rule.begin()
            #expect(decisions == moment.decisions, "\(n)")
            let ledger = rule.ledger
            #expect(ledger.at == moment.at && ledger.running == moment.running, "\(n)")
            #expect(ledger.loading == moment.loading, "\(n)")
            #expect(ledger.resident.sorted == moment.resident, "\(n)")
            #expect(ledger.seen.sorted == moment.seen, "\(n)")
            #expect(ledger.execScale == moment.execScale && ledger.loadScale == moment.loadScale, "\(n)")
        }
        #expect(rule.ledger.at == table.end && rule.ledger.resident.isEmpty && rule.ledger.loading == nil)
    }

    /// The accounts of a machine agree with what the vectors decide: nothing is wrong in them.
    @Test(arguments: vectors) func theAccountsFindNothingWrong(_ vector: OnlineVector) throws {
        var accounts = Accounts(try vector.table())
        for moment in vector.trace {
            switch moment.event {
            case .loadDone: try accounts.loadDone()
            case .stepDone(_, let over, _): try accounts.stepDone(over: over)
            case nil: break
            }
            for decision in moment.decisions { try accounts.decided(decision) }
        }
        try accounts.finish()
    }
}

struct OnlineVector: Decodable, CustomTestStringConvertible {
    let name: String
    let budgetBytes: Int
    let units: [UnitRow]
    let keptByPlan: [KeptRow]
    let kept: [KeptRow]
    let segments: [SegmentRow]
    let trace: [Moment]

    var testDescription: String { name }

    enum CodingKeys: String, CodingKey {
        case name, units, kept, segments, trace
        case budgetBytes = "budget_bytes"
        case keptByPlan = "kept_by_plan"
    }

    func table() throws -> Table {
        try Table(
            units: units.map(\.unit),
            segments: segments.map { TableSegment(count: $0.count, steps: $0.steps.map(\.step)) },
            budgetBytes: budgetBytes,
            kept: keptByPlan.map { Kept(slower: $0.slower, chunks: $0.chunks) })
    }

    struct UnitRow: Decodable {
        let unit: Table.Unit

        init(from decoder: Decoder) throws {
            var row = try decoder.unkeyedContainer()
            let chunk = try row.decode(String.self)
            let numbers = try (0..<4).map { _ in try row.decode(Int.self) }
            unit = Table.Unit(
                chunk: chunk, page: numbers[0], sizeBytes: numbers[1], loadNs: numbers[2], coldNs: numbers[3])
        }
    }

    struct KeptRow: Decodable {
        let slower: Double
        let chunks: [String]

        init(from decoder: Decoder) throws {
            var row = try decoder.unkeyedContainer()
            slower = try row.decode(Double.self)
            chunks = try row.decode([String].self)
        }
    }

    struct SegmentRow: Decodable {
        let count: Int
        let steps: [StepRow]
    }

    struct StepRow: Decodable {
        let step: TableStep

        init(from decoder: Decoder) throws {
            var row = try decoder.unkeyedContainer()
            let chunk = try row.decodeNil() ? nil : row.decode(String.self)
            let need = try row.decode(Int.self), ns = try row.decode(Int.self)
            let times = try row.decode([[Int]].self).map { TimeSwitch(ns: $0[0], below: $0[1]) }
            let at = row.isAtEnd ? [] : try row.decode([Int].self)
            let idle = row.isAtEnd ? 0 : try row.decode(Int.self)
            step = TableStep(
                chunk: chunk, needBytes: need, execNs: ns, switch: times, at: at, idleBytes: idle)
        }
    }

    struct Moment: Decodable {
        let event: Event?
        let decisions: [Decision]
        let at: Int
        let running: Bool
        let resident: [Int]
        let loading: Int?
        let seen: [Int]
        let execScale: Int
        let loadScale: Int

        enum CodingKeys: String, CodingKey {
            case event, decisions, at, running, resident, loading, seen
            case execScale = "exec_scale"
            case loadScale = "load_scale"
        }

        init(from decoder: Decoder) throws {
            let row = try decoder.container(keyedBy: CodingKeys.self)
            event = try row.decode(EventRow.self, forKey: .event).event
            decisions = try row.decode([DecisionRow].self, forKey: .decisions).map(\.decision)
            at = try row.decode(Int.self, forKey: .at)
            running = try row.decode(Bool.self, forKey: .running)
            resident = try row.decode([Int].self, forKey: .resident)
            loading = try row.decodeIfPresent(Int.self, forKey: .loading)
            seen = try row.decode([Int].self, forKey: .seen)
            execScale = try row.decode(Int.self, forKey: .execScale)
            loadScale = try row.decode(Int.self, forKey: .loadScale)
        }
    }

    struct EventRow: Decodable {
        let event: Event?

        init(from decoder: Decoder) throws {
            var row = try decoder.unkeyedContainer()
            switch try row.decode(String.self) {
            case "begin": event = nil
            case "load_done": event = .loadDone(ns: try row.decode(Int.self))
            default: event = .stepDone(ns: try row.decode(Int.self), over: try row.decode(Bool.self))
            }
        }
    }

    struct DecisionRow: Decodable {
        let decision: Decision

        init(from decoder: Decoder) throws {
            var row = try decoder.unkeyedContainer()
            let kind = try row.decode(String.self), number = try row.decode(Int.self)
            switch kind {
            case "evict": decision = .evict(number)
            case "start": decision = .start(number)
            default: decision = .fetch(number)
            }
        }
    }
}
