import Testing

@testable import EntractePlan
@testable import EntracteRuntime

/// The numbers are those of Python's `entracte.clock.table` and `check_table`.
@Suite struct TableTests {
    private func facts(_ bytes: Int, _ load: Double = 0, _ cold: Double = 0, exec: Double = 0) -> ChunkFacts {
        ChunkFacts(
            id: "c", weightBytes: bytes, activationBytes: 0, loadSeconds: load, execSeconds: exec,
            coldSeconds: cold, execBy: [])
    }

    private func pages(_ bytes: Int, _ load: Double, _ cold: Double, _ n: Int) throws -> [[Int]] {
        try split(facts(bytes, load, cold), n).map { [$0.sizeBytes, $0.loadNs, $0.coldNs] }
    }

    @Test func pagesAreCutAsInPython() throws {
        #expect(try pages(10, 7e-9, 2e-9, 3) == [[4, 3, 1], [3, 2, 1], [3, 2, 0]])
        #expect(
            try pages(104_869_945, 0.25, 1.5e-9, 7) == [
                [16_777_216, 35_714_286, 1], [14_680_064, 35_714_286, 1], [14_680_064, 35_714_286, 0],
                [14_680_064, 35_714_286, 0], [14_680_064, 35_714_286, 0], [14_680_064, 35_714_285, 0],
                [14_692_409, 35_714_285, 0],
            ])
        // Halves to even: 2.5 ns are 2, 3.5 ns are 4.
        #expect(try pages(9_437_184, 2.5e-9, 3.5e-9, 2) == [[6_291_456, 1, 2], [3_145_728, 1, 2]])
        #expect(try pages(0, 0, 0, 1) == [[0, 0, 0]])
        #expect(try pages(5, 1e-9, 0, 8).map { $0[0] } == [1, 1, 1, 1, 1, 0, 0, 0])
    }

    @Test func pagesAreCountedAsInPython() throws {
        #expect(try [0, 4096, 4097].map { try pageCounts([facts($0)], 4096) } == [["c": 1], ["c": 1], ["c": 2]])
        #expect(try pageCounts([facts(5)], 0).isEmpty)
        #expect(
            throws: Fault.plan("target.page_bytes is 100; give at least 4096, or 0 for whole packages")
        ) { try pageCounts([facts(1)], 100) }
        #expect(
            throws: Fault.plan(
                "target.page_bytes=4096 makes 268435456 pages, more than 65536; give larger ones, or 0 for whole "
                    + "packages")
        ) { try pageCounts([facts(1 << 40)], 4096) }
    }

    private func small(
        _ need: Int, _ budget: Int, chunk: String? = "a", ns: Int = 1, load: Int = 1
    ) throws -> Table {
        let steps = [
            TableStep(chunk: "a", needBytes: 1, execNs: 1), TableStep(chunk: chunk, needBytes: need, execNs: ns),
        ]
        return try Table(
            units: [Table.Unit(chunk: "a", page: 0, sizeBytes: 100, loadNs: load)],
            segments: [TableSegment(count: 2, steps: steps)], budgetBytes: budget)
    }

    @Test func theRulesPreconditionsAreFaultsInPythonsWords() throws {
        let long = Fault.plan("online rule: nominal times exceed 17592186044416 ns")
        let cases: [(Table, Fault?)] = [
            (
                try small(51, 150),
                .plan("online rule: step 0.1 (a) needs 151 bytes alone, the budget is 150 bytes")
            ),
            (
                try small(151, 150, chunk: nil),
                .plan("online rule: step 0.1 (host) needs 151 bytes alone, the budget is 150 bytes")
            ),
            (try small(0, 200, ns: 1 << 43), long), (try small(0, 200, load: 1 << 44 + 1), long),
            (try small(0, 200, load: 1 << 44), nil), (try small(50, 150), nil),
        ]
        for (table, fault) in cases {
            if let fault {
                #expect(throws: fault) { try OnlineRule(table) }
            } else {
                #expect(throws: Never.self) { try OnlineRule(table) }
            }
        }
    }

    /// A function that switches, a call that rests, two segments.
    @Test func questionsAreAnsweredAsInPython() throws {
        let first = [
            TableStep(
                chunk: "a", needBytes: 9, execNs: 30,
                switch: [TimeSwitch(ns: 5, below: 1), TimeSwitch(ns: 8, below: 3)]),
            TableStep(chunk: nil, needBytes: 4, execNs: 0),
            TableStep(chunk: "b", needBytes: 20, execNs: 40, at: [1, 2], idleBytes: 3),
        ]
        let table = try Table(
            units: [
                Table.Unit(chunk: "a", page: 0, sizeBytes: 100, loadNs: 10),
                Table.Unit(chunk: "b", page: 0, sizeBytes: 50, loadNs: 7),
            ],
            segments: [
                TableSegment(count: 4, steps: first),
                TableSegment(count: 1, steps: [TableStep(chunk: "b", needBytes: 7, execNs: 11)]),
            ], budgetBytes: 1000)
        let all = 0..<13
        #expect(table.end == 13)
        #expect(all.map(table.execNs) == [5, 0, 0, 8, 0, 40, 8, 0, 40, 30, 0, 0, 11])
        #expect((0...13).map(table.nominalBefore) == [0, 5, 5, 5, 13, 13, 53, 61, 61, 101, 131, 131, 131, 142])
        #expect(all.map { table.nextUse(0, from: $0) } == [0, 3, 3, 3, 6, 6, 6, 9, 9, 9, 13, 13, 13])
        #expect(all.map { table.nextUse(1, from: $0) } == [5, 5, 5, 5, 5, 5, 8, 8, 8, 12, 12, 12, 12])
        #expect(all.map(table.needBytes) == [9, 4, 3, 9, 4, 20, 9, 4, 20, 9, 4, 3, 7])
        #expect(all.map(table.marginNs) == [8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 7])
        #expect(all.map { table.chunk($0) ?? -1 } == [0, -1, -1, 0, -1, 1, 0, -1, 1, 0, -1, -1, 1])
        #expect((4..<13).map { table.mostNeed(4, $0) } == [4, 20, 20, 20, 20, 20, 20, 20, 20])
        #expect((9..<13).map { table.mostNeed(9, $0) } == [9, 9, 20, 20])
        #expect(table.place(8) == StepPlace(segment: 0, iteration: 2, step: 2))
        #expect(table.after(5, over: true) == 12 && table.after(5, over: false) == 6)
    }

    /// What a stranger may have written is a fault, never a trap.
    @Test func numbersThatCannotBeCountedAreFaults() {
        let step = TableStep(chunk: nil, needBytes: 0, execNs: 0)
        func table(_ step: TableStep, count: Int = 2, units: [Table.Unit] = [], budget: Int = 0) throws {
            _ = try Table(
                units: units, segments: [TableSegment(count: count, steps: [step])], budgetBytes: budget)
        }
        func unit(_ bytes: Int, _ ns: Int = 0, chunk: String = "a") -> Table.Unit {
            Table.Unit(chunk: chunk, page: 0, sizeBytes: bytes, loadNs: ns)
        }
        let wrong: [() throws -> Void] = [
            { try table(step, count: 0) }, { try table(step, count: .max) }, { try table(step, budget: .min) },
            { try table(TableStep(chunk: nil, needBytes: -1, execNs: 0)) },
            { try table(TableStep(chunk: nil, needBytes: .max, execNs: 0)) },
            { try table(TableStep(chunk: nil, needBytes: 0, execNs: .max)) },
            { try table(TableStep(chunk: nil, needBytes: 0, execNs: 1 << 59), count: 1 << 20) },
            { try table(TableStep(chunk: "a", needBytes: 0, execNs: 0)) },
            { try table(TableStep(chunk: nil, needBytes: 0, execNs: 0, at: [2, 1])) },
            { try table(TableStep(chunk: nil, needBytes: 0, execNs: 0, at: [-1])) },
            { try table(step, units: [unit(.max), unit(.max, chunk: "b")]) },
            { try table(step, units: [unit(1, .max), unit(1, .max, chunk: "b")]) },
            { try table(step, units: [unit(-1)]) },
            { try table(step, units: [unit(1), unit(1, chunk: "b"), unit(1)]) },
            { _ = try Table(units: [], segments: [], budgetBytes: 0) },
            { _ = try Table(units: [], segments: [TableSegment(count: 1, steps: [])], budgetBytes: 0) },
            {
                _ = try Table(
                    units: [], segments: [TableSegment(count: 1, steps: [step])], budgetBytes: 0,
                    kept: [Kept(slower: .infinity, chunks: [])])
            },
            { _ = try split(self.facts(1, .infinity), 1) }, { _ = try split(self.facts(1, -1), 1) },
            { _ = try split(self.facts(.max), 2) }, { _ = try pageCounts([self.facts(-1)], 4096) },
        ]
        for (n, make) in wrong.enumerated() {
            #expect(throws: Fault.self, "\(n)") { try make() }
        }
    }

    @Test func schedulesOfOtherProgramsAreFaults() throws {
        let drawn = try Drawn.withALoad()
        func gates(_ load: Load) throws {
            let own = drawn.oneByOne
            _ = try Gates(
                drawn.table, drawn.program,
                Schedule(
                    policy: own.policy, budgetBytes: 0, loads: [load], resident: [], driver: "gates", kept: []))
        }
        func load(
            _ chunk: String, segment: Int = 0, step: Int = 0, free: Int = 0, gate: Gate? = nil
        ) -> Load {
            Load(
                chunk: chunk, segment: segment, iterations: "each", step: step, gate: gate, freeStep: free,
                freeMoment: .same)
        }
        let own = drawn.table.chunks[0]
        #expect(throws: Never.self) { try gates(load(own)) }
        for one in [
            load("nobody"), load(own, segment: 9), load(own, segment: -1), load(own, step: 99), load(own, free: 99),
            load(own, gate: Gate(segment: 0, step: -1, moment: .same)),
        ] { #expect(throws: Fault.self) { try gates(one) } }
    }
}
