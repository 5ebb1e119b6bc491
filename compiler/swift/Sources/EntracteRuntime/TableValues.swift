// What a table is made of. All sizes are whole bytes, all times whole nanoseconds.

extension Table {
    /// What is loaded at once: a package, or one page of it.
    package struct Unit: Equatable, Sendable {
        package let chunk: String
        package let page: Int
        package let sizeBytes: Int
        /// The nominal time of a load.
        package let loadNs: Int
        /// How much more the first load in a run takes.
        package let coldNs: Int

        package init(chunk: String, page: Int, sizeBytes: Int, loadNs: Int, coldNs: Int = 0) {
            self.chunk = chunk
            self.page = page
            self.sizeBytes = sizeBytes
            self.loadNs = loadNs
            self.coldNs = coldNs
        }
    }

    /// Chunks kept while loads, compared with steps, take `slower` / 4096 times as long as planned, or
    /// longer.
    package struct Level: Equatable, Sendable {
        package let slower: Int
        package let chunks: [String]
    }
}

/// The time of a step while the iteration is below `below`.
package struct TimeSwitch: Equatable, Sendable {
    package let ns: Int
    package let below: Int

    package init(ns: Int, below: Int) {
        self.ns = ns
        self.below = below
    }
}

/// One step as drivers see it.
package struct TableStep: Equatable, Sendable {
    /// Nil of a host step.
    package let chunk: String?
    /// Its activations and every tensor alive while it runs.
    package let needBytes: Int
    /// Of all slices of a map together; 0 for a host step.
    package let execNs: Int
    /// By rising `below`; then `execNs`.
    package let `switch`: [TimeSwitch]
    /// Of the tensors alive between this step and the next. No driver reads it.
    package let leftBytes: Int
    /// The same where this step is the last of its segment.
    package let endBytes: Int
    /// The iterations of its segment in which it is called, rising; empty: all. In others it takes no
    /// time, and needs no chunk and `idleBytes`.
    package let at: [Int]
    package let idleBytes: Int

    package init(
        chunk: String?, needBytes: Int, execNs: Int, switch: [TimeSwitch] = [], leftBytes: Int = 0,
        endBytes: Int = 0, at: [Int] = [], idleBytes: Int = 0
    ) {
        self.chunk = chunk
        self.needBytes = needBytes
        self.execNs = execNs
        self.switch = `switch`
        self.leftBytes = leftBytes
        self.endBytes = endBytes
        self.at = at
        self.idleBytes = idleBytes
    }

    /// Nominal nanoseconds in an iteration of its segment in which it is called.
    package func exec(at iteration: Int) -> Int {
        self.switch.first { iteration < $0.below }?.ns ?? execNs
    }

    /// Whether it is called in an iteration; else it rests.
    package func isCalled(_ iteration: Int) -> Bool {
        at.isEmpty || at.firstAtLeast(iteration).map { at[$0] == iteration } ?? false
    }
}

/// Steps in order, `count` times.
package struct TableSegment: Equatable, Sendable {
    package let count: Int
    package let steps: [TableStep]

    package init(count: Int, steps: [TableStep]) {
        self.count = count
        self.steps = steps
    }
}

/// Where a step is.
package struct StepPlace: Equatable, Sendable {
    package let segment: Int
    package let iteration: Int
    package let step: Int
}

extension [Int] {
    /// Of a rising array: where the first element that is at least `x` stands; nil if none is.
    func firstAtLeast(_ x: Int) -> Int? {
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < x { low = middle + 1 } else { high = middle }
        }
        return low < count ? low : nil
    }

    /// Of a rising array: where the last element that is at most `x` stands; 0 if none is.
    func lastAtMost(_ x: Int) -> Int {
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] <= x { low = middle + 1 } else { high = middle }
        }
        return Swift.max(low - 1, 0)
    }
}
