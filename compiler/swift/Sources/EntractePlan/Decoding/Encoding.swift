// Values of a plan as the JSON that they were read from: every field, as `codec.encode` writes it.

private func tagged(_ name: String, _ members: [(String, JSON)]) -> JSON {
    .object([JSON.Member("type", .text(name))] + members.map { JSON.Member($0.0, $0.1) })
}

private func list<T>(_ items: [T], _ one: (T) -> JSON) -> JSON { .list(items.map(one)) }

private func texts(_ items: [String]) -> JSON { .list(items.map { .text($0) }) }

private func wholes(_ items: [Int]) -> JSON { .list(items.map { .whole($0) }) }

private func number(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }

private func numbers(_ items: [NamedNumber]) -> JSON {
    list(items) { .list([.text($0.name), .number($0.value)]) }
}

extension Plan {
    /// The plan as JSON: decoding it gives this plan back (its `sha256` apart).
    public var encoded: JSON {
        tagged("Plan", [
            ("version", .whole(version)), ("entracte", .text(entracte)), ("built", .flag(built)),
            ("pipeline", .text(pipeline)), ("title", .text(title)), ("target", target.encoded),
            ("settings", .text(settings)), ("program", program.encoded),
            ("chunks", list(chunks) { $0.encoded }), ("packages", list(packages) { $0.encoded }),
            ("facts", list(facts) { $0.encoded }), ("schedule", schedule.encoded),
            ("forecast", forecast.encoded),
            ("files", list(files) { texts([$0.path, $0.sha256]) }), ("verify", .text(verify)),
            ("compared", list(compared) { $0.encoded }),
        ])
    }
}

extension Target {
    var encoded: JSON {
        tagged("Target", [
            ("name", .text(name)), ("title", .text(title)), ("memory_bytes", .whole(memoryBytes)),
            ("base_footprint_bytes", .whole(baseFootprintBytes)),
            ("settle_fraction", .number(settleFraction)), ("chunk_limit_bytes", .whole(chunkLimitBytes)),
            ("deployment", .text(deployment)), ("compute_unit", .text(computeUnit)),
            ("load_bandwidth", .number(loadBandwidth)), ("load_overhead_s", .number(loadOverheadSeconds)),
            ("compute_flops", .number(computeFlops)), ("memory_bandwidth", .number(memoryBandwidth)),
            ("call_overhead_s", .number(callOverheadSeconds)), ("sources", texts(sources)),
            ("estimated", texts(estimated)), ("efficiency", numbers(efficiency)),
            ("cold_bandwidth", number(coldBandwidth)), ("contention", .number(contention)),
            ("page_bytes", .whole(pageBytes)), ("reload_on_switch", .flag(reloadOnSwitch)),
        ])
    }
}

extension Port {
    var encoded: JSON {
        tagged("Port", [
            ("name", .text(name)), ("shape", wholes(shape)), ("dtype", .text(dtype.rawValue)),
        ])
    }
}

extension Work {
    var encoded: JSON {
        tagged("Work", [("kind", .text(kind)), ("flops", .whole(flops)), ("moved_bytes", .whole(movedBytes))])
    }
}

extension Variant {
    var encoded: JSON {
        tagged("Variant", [
            ("name", .text(name)), ("start", .whole(start)), ("stop", .whole(stop)),
            ("activation_bytes", .whole(activationBytes)), ("flops", .whole(flops)),
            ("moved_bytes", .whole(movedBytes)), ("work", list(work) { $0.encoded }), ("graph", .text(graph)),
            ("inputs", list(inputs) { $0.encoded }), ("outputs", list(outputs) { $0.encoded }),
        ])
    }
}

extension Chunk {
    var encoded: JSON {
        tagged("Chunk", [
            ("id", .text(id)), ("graph", .text(graph)), ("start", .whole(start)), ("stop", .whole(stop)),
            ("inputs", list(inputs) { $0.encoded }), ("outputs", list(outputs) { $0.encoded }),
            ("weight_bytes", .whole(weightBytes)), ("activation_bytes", .whole(activationBytes)),
            ("flops", .whole(flops)), ("moved_bytes", .whole(movedBytes)),
            ("variants", list(variants) { $0.encoded }), ("work", list(work) { $0.encoded }),
            ("compute_unit", .text(computeUnit)), ("modules", texts(modules)),
        ] + (shares.isEmpty ? [] : [("shares", .text(shares))]))
    }
}

extension FunctionPorts {
    var encoded: JSON {
        tagged("FunctionPorts", [
            ("function", .text(function)), ("inputs", list(inputs) { $0.encoded }),
            ("outputs", list(outputs) { $0.encoded }),
        ])
    }
}

extension Package {
    var encoded: JSON {
        tagged("Package", [
            ("chunk", .text(chunk)), ("path", .text(path)), ("digest", .text(digest)),
            ("file_bytes", .whole(fileBytes)), ("weight_bytes", .whole(weightBytes)),
            ("activation_bytes", .whole(activationBytes)), ("precision", .text(precision)),
            ("compression", .text(compression)), ("inputs", list(inputs) { $0.encoded }),
            ("outputs", list(outputs) { $0.encoded }), ("psnr_db", number(psnrDb)),
            ("functions", texts(functions)), ("own_ports", list(ownPorts) { $0.encoded }),
        ] + (arrays.map { [("arrays", $0.encoded)] } ?? []))
    }
}

extension Arrays {
    var encoded: JSON {
        tagged("Arrays", [
            ("path", .text(path)), ("digest", .text(digest)), ("file_bytes", .whole(fileBytes)),
            ("ports", list(ports) { $0.encoded }),
        ])
    }
}

extension Compared {
    var encoded: JSON {
        tagged("Compared", [
            ("chunk", .text(chunk)), ("of", .text(of)), ("floor_db", .number(floorDb)), ("db", number(db)),
            ("max_error", number(maxError)), ("inputs", .text(inputs)), ("share", .number(share)),
            ("repaired", .text(repaired)), ("why", .text(why)),
        ])
    }
}

extension ChunkFacts {
    var encoded: JSON {
        tagged("ChunkFacts", [
            ("id", .text(id)), ("weight_bytes", .whole(weightBytes)),
            ("activation_bytes", .whole(activationBytes)), ("load_s", .number(loadSeconds)),
            ("exec_s", .number(execSeconds)), ("cold_s", .number(coldSeconds)), ("exec_by", numbers(execBy)),
        ])
    }
}

extension Schedule {
    var encoded: JSON {
        tagged("Schedule", [
            ("policy", policy.encoded), ("budget_bytes", .whole(budgetBytes)),
            ("loads", list(loads) { $0.encoded }), ("resident", texts(resident)), ("driver", .text(driver)),
            ("kept", list(kept) { $0.encoded }),
        ])
    }
}

extension Policy {
    var encoded: JSON {
        tagged("Policy", [
            ("name", .text(name)), ("lookahead", .whole(lookahead)), ("retain", .flag(retain)),
            ("keep", .text(keep)), ("driver", .text(driver)), ("margin", .whole(margin)),
        ])
    }
}

extension Load {
    var encoded: JSON {
        tagged("Load", [
            ("chunk", .text(chunk)), ("segment", .whole(segment)), ("iterations", .text(iterations)),
            ("step", .whole(step)), ("gate", gate.map(\.encoded) ?? .null), ("free_step", .whole(freeStep)),
            ("free_moment", .text(freeMoment.rawValue)),
        ])
    }
}

extension Gate {
    var encoded: JSON {
        tagged("Gate", [
            ("segment", .whole(segment)), ("step", .whole(step)), ("moment", .text(moment.rawValue)),
        ])
    }
}

extension Kept {
    var encoded: JSON { tagged("Kept", [("slower", .number(slower)), ("chunks", texts(chunks))]) }
}

extension Forecast {
    var encoded: JSON {
        tagged("Forecast", [
            ("makespan_s", .number(makespanSeconds)), ("compute_s", .number(computeSeconds)),
            ("loading_s", .number(loadingSeconds)), ("stall_s", .number(stallSeconds)),
            ("loaded_bytes", .whole(loadedBytes)), ("loads", .whole(loads)),
            ("peak_bytes", .whole(peakBytes)),
            ("peak_step", .text(peakStep)), ("lower_bound_s", .number(lowerBoundSeconds)),
            ("lower_bound", .text(lowerBound)), ("stage_s", numbers(stageSeconds)),
            ("bars", list(bars) { $0.encoded }), ("earliest_s", number(earliestSeconds)),
            ("stalls", numbers(stalls)),
        ] + (restingSeconds == nil ? [] : [("resting_s", number(restingSeconds))]))
    }
}

extension Bar {
    /// As it stands in plans and in records of runs.
    public var encoded: JSON {
        tagged("Bar", [
            ("queue", .text(queue)), ("label", .text(label)), ("segment", .whole(segment)),
            ("iteration", .whole(iteration)), ("step", .whole(step)), ("start_s", .number(startSeconds)),
            ("end_s", .number(endSeconds)), ("size_bytes", .whole(sizeBytes)),
        ])
    }
}

extension Param {
    var encoded: JSON {
        switch self {
        case .none: .null
        case .flag(let x): .flag(x)
        case .whole(let x): .whole(x)
        case .number(let x): .number(x)
        case .text(let x): .text(x)
        case .list(let x): JSON.list(x.map(\.encoded))
        }
    }
}

extension Program {
    public var encoded: JSON {
        tagged("Program", [
            ("inputs", list(inputs) { $0.encoded }), ("constants", list(constants) { $0.encoded }),
            ("tensors", list(tensors) { $0.encoded }), ("segments", list(segments) { $0.encoded }),
            ("outputs", list(outputs) { $0.encoded }),
        ])
    }
}

extension Input {
    var encoded: JSON {
        tagged("Input", [
            ("name", .text(name)), ("kind", .text(kind.rawValue)),
            ("default", self.default.map(\.encoded) ?? .null), ("port", port.map(\.encoded) ?? .null),
            ("choices", texts(choices)), ("least", number(least)), ("most", number(most)),
            ("low", .number(low)), ("high", .number(high)), ("fit", .text(fit)), ("rate", .number(rate)),
        ])
    }
}

extension Output {
    var encoded: JSON {
        tagged("Output", [
            ("name", .text(name)), ("kind", .text(kind.rawValue)), ("values", texts(values)),
            ("axis", .whole(axis)), ("rate", .number(rate)), ("low", .number(low)), ("high", .number(high)),
            ("tokenizer", .text(tokenizer)), ("end", wholes(end)),
        ])
    }
}

extension TensorDecl {
    var encoded: JSON {
        tagged("TensorDecl", [
            ("port", port.encoded), ("slots", .whole(slots)), ("streamed", .whole(streamed)),
        ])
    }
}

extension Segment {
    var encoded: JSON {
        tagged("Segment", [
            ("name", .text(name)), ("count", .whole(count)), ("steps", list(steps) { $0.encoded }),
            ("state", list(state) { texts([$0.name, $0.first, $0.next]) }), ("frees", texts(frees)),
            ("until", until.map { .text($0) } ?? .null), ("sliced", .flag(sliced)),
        ])
    }
}

extension Step {
    var encoded: JSON {
        switch self {
        case .call(let x): x.encoded
        case .host(let x): x.encoded
        }
    }
}

extension Call {
    var encoded: JSON {
        tagged("Call", [
            ("stage", .text(stage)), ("chunk", .text(chunk)), ("inputs", list(inputs) { $0.encoded }),
            ("outputs", list(outputs) { $0.encoded }), ("repeat", .whole(self.repeat)),
            ("frees", texts(frees)), ("function", .text(function)),
            ("switch", list(self.switch) { .list([.text($0.function), .whole($0.below)]) }),
            ("at", wholes(at)),
        ] + (restsBy.isEmpty ? [] : [("rests_by", .text(restsBy))]))
    }
}

extension HostStep {
    var encoded: JSON {
        tagged("HostStep", [
            ("stage", .text(stage)), ("op", .text(op)),
            ("params", list(params) { .list([.text($0.name), $0.value.encoded]) }),
            ("inputs", list(inputs) { texts([$0.port, $0.value]) }),
            ("outputs", list(outputs) { $0.encoded }), ("frees", texts(frees)),
        ])
    }
}

extension Binding {
    var encoded: JSON {
        tagged("Binding", [
            ("feature", .text(feature)), ("tensor", .text(tensor)), ("by", .text(by.rawValue)),
            ("windows", list(windows) { $0.encoded }),
        ])
    }
}

extension Window {
    var encoded: JSON {
        tagged("Window", [
            ("axis", .whole(axis)), ("size", .whole(size)), ("count", .whole(count)),
            ("stride", .whole(stride)), ("start", .whole(start)),
        ])
    }
}
