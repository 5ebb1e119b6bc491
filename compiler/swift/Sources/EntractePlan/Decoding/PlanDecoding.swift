/// Whole plans: what is decided, emitted and promised.
extension Decoder {
    func plan(_ node: Int, sha256: String) throws -> Plan {
        let f = try opened(node, .plan)
        let made = Plan(
            version: try whole(needed(f, 0)),
            entracte: try text(needed(f, 1)),
            built: try flag(needed(f, 2)),
            pipeline: try text(needed(f, 3)),
            title: try text(needed(f, 4)),
            target: try target(needed(f, 5)),
            settings: try text(needed(f, 6)),
            program: try program(needed(f, 7)),
            chunks: try list(needed(f, 8)) { try chunk($0) },
            packages: try list(needed(f, 9)) { try package($0) },
            facts: try list(needed(f, 10)) { try facts($0) },
            schedule: try schedule(needed(f, 11)),
            forecast: try forecast(needed(f, 12)),
            files: try self.node(f, 13).map { try list($0) { try file($0) } } ?? [],
            verify: try self.node(f, 14).map { try text($0) } ?? "off",
            compared: try self.node(f, 15).map { try list($0) { try compared($0) } } ?? [],
            sha256: sha256)
        closed(f)
        return made
    }

    private func file(_ node: Int) throws -> PlanFile {
        let (path, sha256) = try pair(node)
        return PlanFile(path: try text(path), sha256: try text(sha256))
    }

    private func target(_ node: Int) throws -> Target {
        let f = try opened(node, .target)
        let made = Target(
            name: try text(needed(f, 0)),
            title: try text(needed(f, 1)),
            memoryBytes: try whole(needed(f, 2), .positive),
            baseFootprintBytes: try whole(needed(f, 3)),
            settleFraction: try number(needed(f, 4), .share),
            chunkLimitBytes: try whole(needed(f, 5), .positive),
            deployment: try text(needed(f, 6)),
            computeUnit: try text(needed(f, 7)),
            loadBandwidth: try number(needed(f, 8), .positive),
            loadOverheadSeconds: try number(needed(f, 9), .seconds),
            computeFlops: try number(needed(f, 10), .positive),
            memoryBandwidth: try number(needed(f, 11), .positive),
            callOverheadSeconds: try number(needed(f, 12), .seconds),
            sources: try self.node(f, 13).map { try texts($0) } ?? [],
            estimated: try self.node(f, 14).map { try texts($0) } ?? [],
            efficiency: try self.node(f, 15).map { try namedNumbers($0, .efficiency) } ?? [],
            coldBandwidth: try self.node(f, 16).flatMap { try nullable($0) { try number($0, .positive) } },
            contention: try self.node(f, 17).map { try number($0, .contention) } ?? 1,
            pageBytes: try self.node(f, 18).map { try whole($0, .page) } ?? 0,
            reloadOnSwitch: try self.node(f, 19).map { try flag($0) } ?? false)
        closed(f)
        return made
    }

    private func chunk(_ node: Int) throws -> Chunk {
        let f = try opened(node, .chunk)
        let made = Chunk(
            id: try text(needed(f, 0)),
            graph: try text(needed(f, 1)),
            start: try whole(needed(f, 2)),
            stop: try whole(needed(f, 3)),
            inputs: try ports(needed(f, 4)),
            outputs: try ports(needed(f, 5)),
            weightBytes: try whole(needed(f, 6)),
            activationBytes: try whole(needed(f, 7)),
            flops: try whole(needed(f, 8)),
            movedBytes: try whole(needed(f, 9)),
            variants: try self.node(f, 10).map { try list($0) { try variant($0) } } ?? [],
            work: try self.node(f, 11).map { try list($0) { try work($0) } } ?? [],
            computeUnit: try self.node(f, 12).map { try text($0) } ?? "",
            modules: try self.node(f, 13).map { try texts($0) } ?? [],
            shares: try self.node(f, 14).map { try text($0) } ?? "")
        closed(f)
        return made
    }

    private func ports(_ node: Int) throws -> [Port] { try list(node) { try port($0) } }

    private func variant(_ node: Int) throws -> Variant {
        let f = try opened(node, .variant)
        let made = Variant(
            name: try text(needed(f, 0)),
            start: try whole(needed(f, 1)),
            stop: try whole(needed(f, 2)),
            activationBytes: try whole(needed(f, 3)),
            flops: try whole(needed(f, 4)),
            movedBytes: try whole(needed(f, 5)),
            work: try self.node(f, 6).map { try list($0) { try work($0) } } ?? [],
            graph: try self.node(f, 7).map { try text($0) } ?? "",
            inputs: try self.node(f, 8).map { try ports($0) } ?? [],
            outputs: try self.node(f, 9).map { try ports($0) } ?? [])
        closed(f)
        return made
    }

    private func work(_ node: Int) throws -> Work {
        let f = try opened(node, .work)
        let made = Work(
            kind: try text(needed(f, 0)), flops: try whole(needed(f, 1)), movedBytes: try whole(needed(f, 2)))
        closed(f)
        return made
    }

    private func package(_ node: Int) throws -> Package {
        let f = try opened(node, .package)
        let made = Package(
            chunk: try text(needed(f, 0)),
            path: try text(needed(f, 1)),
            digest: try text(needed(f, 2)),
            fileBytes: try whole(needed(f, 3)),
            weightBytes: try whole(needed(f, 4)),
            activationBytes: try whole(needed(f, 5)),
            precision: try text(needed(f, 6)),
            compression: try text(needed(f, 7)),
            inputs: try ports(needed(f, 8)),
            outputs: try ports(needed(f, 9)),
            psnrDb: try self.node(f, 10).flatMap { try nullable($0) { try number($0, .signed) } },
            functions: try self.node(f, 11).map { try texts($0) } ?? ["main"],
            ownPorts: try self.node(f, 12).map { try list($0) { try functionPorts($0) } } ?? [],
            arrays: try self.node(f, 13).flatMap { try nullable($0) { try arrays($0) } })
        closed(f)
        return made
    }

    private func arrays(_ node: Int) throws -> Arrays {
        let f = try opened(node, .arrays)
        let made = Arrays(
            path: try text(needed(f, 0)), digest: try text(needed(f, 1)),
            fileBytes: try whole(needed(f, 2)), ports: try ports(needed(f, 3)))
        closed(f)
        return made
    }

    private func functionPorts(_ node: Int) throws -> FunctionPorts {
        let f = try opened(node, .functionPorts)
        let made = FunctionPorts(
            function: try text(needed(f, 0)), inputs: try ports(needed(f, 1)),
            outputs: try ports(needed(f, 2)))
        closed(f)
        return made
    }

    private func compared(_ node: Int) throws -> Compared {
        let f = try opened(node, .compared)
        let made = Compared(
            chunk: try text(needed(f, 0)),
            of: try text(needed(f, 1)),
            floorDb: try number(needed(f, 2)),
            db: try self.node(f, 3).flatMap { try nullable($0) { try number($0) } },
            maxError: try self.node(f, 4).flatMap { try nullable($0) { try number($0) } },
            inputs: try self.node(f, 5).map { try text($0) } ?? "",
            share: try self.node(f, 6).map { try number($0) } ?? 0,
            repaired: try self.node(f, 7).map { try text($0) } ?? "",
            why: try self.node(f, 8).map { try text($0) } ?? "")
        closed(f)
        return made
    }

    private func facts(_ node: Int) throws -> ChunkFacts {
        let f = try opened(node, .facts)
        let made = ChunkFacts(
            id: try text(needed(f, 0)),
            weightBytes: try whole(needed(f, 1)),
            activationBytes: try whole(needed(f, 2)),
            loadSeconds: try number(needed(f, 3), .seconds),
            execSeconds: try number(needed(f, 4), .seconds),
            coldSeconds: try self.node(f, 5).map { try number($0, .seconds) } ?? 0,
            execBy: try self.node(f, 6).map { try namedNumbers($0, .seconds) } ?? [])
        closed(f)
        return made
    }

    private func schedule(_ node: Int) throws -> Schedule {
        let f = try opened(node, .schedule)
        let made = Schedule(
            policy: try policy(needed(f, 0)),
            budgetBytes: try whole(needed(f, 1)),
            loads: try list(needed(f, 2)) { try load($0) },
            resident: try texts(needed(f, 3)),
            driver: try self.node(f, 4).map { try text($0) } ?? "gates",
            kept: try self.node(f, 5).map { try list($0) { try kept($0) } } ?? [])
        closed(f)
        return made
    }

    private func policy(_ node: Int) throws -> Policy {
        let f = try opened(node, .policy)
        let made = Policy(
            name: try text(needed(f, 0)),
            lookahead: try whole(needed(f, 1)),
            retain: try flag(needed(f, 2)),
            keep: try self.node(f, 3).map { try text($0) } ?? "even",
            driver: try self.node(f, 4).map { try text($0) } ?? "gates",
            margin: try self.node(f, 5).map { try whole($0) } ?? 0)
        closed(f)
        return made
    }

    private func load(_ node: Int) throws -> Load {
        let f = try opened(node, .load)
        let made = Load(
            chunk: try text(needed(f, 0)),
            segment: try whole(needed(f, 1)),
            iterations: try text(needed(f, 2)),
            step: try whole(needed(f, 3)),
            gate: try nullable(needed(f, 4)) { try gate($0) },
            freeStep: try whole(needed(f, 5)),
            freeMoment: try choice(needed(f, 6)))
        closed(f)
        return made
    }

    private func gate(_ node: Int) throws -> Gate {
        let f = try opened(node, .gate)
        let made = Gate(
            segment: try whole(needed(f, 0)), step: try whole(needed(f, 1)), moment: try choice(needed(f, 2)))
        closed(f)
        return made
    }

    private func kept(_ node: Int) throws -> Kept {
        let f = try opened(node, .kept)
        let made = Kept(slower: try number(needed(f, 0)), chunks: try texts(needed(f, 1)))
        closed(f)
        return made
    }

    private func forecast(_ node: Int) throws -> Forecast {
        let f = try opened(node, .forecast)
        let made = Forecast(
            makespanSeconds: try number(needed(f, 0), .seconds),
            computeSeconds: try number(needed(f, 1), .seconds),
            loadingSeconds: try number(needed(f, 2), .seconds),
            stallSeconds: try number(needed(f, 3), .seconds),
            loadedBytes: try whole(needed(f, 4)),
            loads: try whole(needed(f, 5)),
            peakBytes: try whole(needed(f, 6)),
            peakStep: try text(needed(f, 7)),
            lowerBoundSeconds: try number(needed(f, 8), .seconds),
            lowerBound: try text(needed(f, 9)),
            stageSeconds: try namedNumbers(needed(f, 10), .seconds),
            bars: try list(needed(f, 11)) { try bar($0) },
            earliestSeconds: try self.node(f, 12).flatMap { try nullable($0) { try number($0, .seconds) } },
            stalls: try self.node(f, 13).map { try namedNumbers($0, .seconds) } ?? [],
            restingSeconds: try self.node(f, 14).flatMap { try nullable($0) { try number($0, .seconds) } })
        closed(f)
        return made
    }

    private func bar(_ node: Int) throws -> Bar {
        let f = try opened(node, .bar)
        let made = Bar(
            queue: try text(needed(f, 0)),
            label: try text(needed(f, 1)),
            segment: try whole(needed(f, 2)),
            iteration: try whole(needed(f, 3)),
            step: try whole(needed(f, 4)),
            startSeconds: try number(needed(f, 5), .seconds),
            endSeconds: try number(needed(f, 6), .seconds),
            sizeBytes: try self.node(f, 7).map { try whole($0) } ?? 0)
        closed(f)
        return made
    }
}
