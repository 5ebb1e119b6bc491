// What a table is made of. All sizes are whole bytes, all times whole nanoseconds.

extension Table {
    /// What is loaded at once: a package, or one page of it.
    public struct Unit: Equatable, Sendable {
        public let chunk: String
        public let page: Int
        public let sizeBytes: Int
        /// The nominal time of a load.
        public let loadNs: Int
        /// How much more the first load in a run takes.
        public let coldNs: Int

        public init(chunk: String, page: Int, sizeBytes: Int, loadNs: Int, coldNs: Int = 0) {
            self.chunk = chunk
            self.page = page
            self.sizeBytes = sizeBytes
            self.loadNs = loadNs
            self.coldNs = coldNs
        }
    }

    /// Chunks kept while loads, compared with steps, take `slower` / 4096 times as long as planned, or
    /// longer.
    public struct Level: Equatable, Sendable {
        public let slower: Int
        public let chunks: [String]
    }
}

/// The time of a step while the iteration is below `below`.
public struct TimeSwitch: Equatable, Sendable {
    public let ns: Int
    public let below: Int

    public init(ns: Int, below: Int) {
        self.ns = ns
        self.below = below
    }
}

/// One step as drivers see it.
public struct TableStep: Equatable, Sendable {
    /// Nil of a host step.
    public let chunk: String?
    /// Its activations and every tensor alive while it runs.
    public let needBytes: Int
    /// Of all slices of a map together; 0 for a host step.
    public let execNs: Int
    /// By rising `below`; then `execNs`.
    public let `switch`: [TimeSwitch]
    /// Of the tensors alive between this step and the next. No driver reads it.
    public let leftBytes: Int
    /// The same where this step is the last of its segment.
    public let endBytes: Int
    /// The iterations of its segment in which it is called, rising; empty: all. In others it takes no
    /// time, and needs no chunk and `idleBytes`.
    public let at: [Int]
    public let idleBytes: Int

    public init(
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
    public func exec(at iteration: Int) -> Int {
        self.switch.first { iteration < $0.below }?.ns ?? execNs
    }

    /// Whether it is called in an iteration; else it rests.
    public func isCalled(_ iteration: Int) -> Bool {
        at.isEmpty || at.firstAtLeast(iteration).map { at[$0] == iteration } ?? false
    }
}

/// Steps in order, `count` times.
public struct TableSegment: Equatable, Sendable {
    public let count: Int
    public let steps: [TableStep]

    public init(count: Int, steps: [TableStep]) {
        self.count = count
        self.steps = steps
    }
}

/// Where a step is.
public struct StepPlace: Equatable, Sendable {
    public let segment: Int
    public let iteration: Int
    public let step: Int
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
