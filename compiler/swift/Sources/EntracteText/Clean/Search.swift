/// The matches of one expression in one text, from left to right.
struct Search {
    struct Match {
        let range: Range<Int>
        let group: Range<Int>
    }

    private struct Job {
        /// Negative: the group's mark -1 - `step` is `place` again.
        let step: Int
        let place: Int
    }

    private let expression: Expression
    private let text: Scalars
    /// A bit for each step at each place. One that was tried leads to no match, wherever it is come
    /// from; those on the way of a match lie before its end, where no later search begins.
    private var tried: [UInt64] = []
    private var jobs: [Job] = []
    private var marks = [0, 0]

    init(_ expression: Expression, _ text: Scalars) {
        self.expression = expression
        self.text = text
    }

    /// The first match that begins there or behind; `from` never falls.
    mutating func next(from: Int) -> Match? {
        var begin = from
        while begin < text.count {
            if expression.canBegin(with: text[begin]), let end = end(from: begin) {
                forget(at: end)
                return Match(range: begin..<end, group: marks[0]..<max(marks[0], marks[1]))
            }
            begin += 1
        }
        return nil
    }

    private mutating func end(from begin: Int) -> Int? {
        if tried.isEmpty {
            tried = Array(repeating: 0, count: ((text.count + 1) * expression.steps.count + 63) / 64)
        }
        marks = [begin, begin]
        jobs.append(Job(step: 0, place: begin))
        while let job = jobs.popLast() {
            if job.step < 0 {
                marks[-1 - job.step] = job.place
            } else if let end = follow(job.step, job.place) {
                jobs.removeAll(keepingCapacity: true)
                return end
            }
        }
        return nil
    }

    /// Go on as long as a step leads to one other; what else it may lead to is a job.
    private mutating func follow(_ firstStep: Int, _ firstPlace: Int) -> Int? {
        var (step, place) = (firstStep, firstPlace)
        while isNew(step, place) {
            switch expression.steps[step] {
            case .one(let index):
                guard place < text.count, expression.classes[index].contains(text[place]) else { return nil }
                (step, place) = (step + 1, place + 1)
            case .split(let first, let second):
                jobs.append(Job(step: second, place: place))
                step = first
            case .jump(let to): step = to
            case .mark(let which):
                jobs.append(Job(step: -1 - which, place: marks[which]))
                marks[which] = place
                step += 1
            case .found: return place
            default:
                guard holds(expression.steps[step], place) else { return nil }
                step += 1
            }
        }
        return nil
    }

    private func holds(_ step: Expression.Step, _ place: Int) -> Bool {
        switch step {
        case .begin: return place == 0
        case .end: return place == text.count
        case .notAhead(let index):
            return place == text.count || !expression.classes[index].contains(text[place])
        default:
            let before = place > 0 && Kinds.isWord(text[place - 1])
            return before != (place < text.count && Kinds.isWord(text[place]))
        }
    }

    private mutating func isNew(_ step: Int, _ place: Int) -> Bool {
        let bit = place * expression.steps.count + step
        let mask = UInt64(1) << UInt64(bit & 63)
        if tried[bit >> 6] & mask != 0 { return false }
        tried[bit >> 6] |= mask
        return true
    }

    private mutating func forget(at place: Int) {
        for bit in (place * expression.steps.count)..<((place + 1) * expression.steps.count) {
            tried[bit >> 6] &= ~(UInt64(1) << UInt64(bit & 63))
        }
    }
}
