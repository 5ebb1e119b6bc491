import AVKit
import EntracteCoreML
import EntracteMedia
import EntractePlan
import EntracteRuntime
import SwiftUI
// A plan has a `Binding` too.
import struct SwiftUI.Binding
import UniformTypeIdentifiers

/// One screen: what is given, what happens, what came out.
struct StudioView: View {
    @Bindable var studio: Studio

    var body: some View {
        NavigationStack {
            Form {
                StateSection(studio: studio)
                if studio.state == .ready {
                    Section("Inputs") {
                        ForEach(studio.inputs, id: \.name) { input in
                            InputRow(input: input, text: text(input.name))
                        }
                        if studio.makesClip {
                            Stepper("Clip enlarged \(studio.scale) times", value: $studio.scale, in: 1...mostScale)
                        }
                        Toggle("Files say how they were made", isOn: $studio.saysHow)
                        Button("Make") { studio.run() }
                    }
                }
                if let preview = studio.preview { PreviewImage(preview: preview) }
                if !studio.made.isEmpty || !studio.texts.isEmpty { ResultSection(studio: studio) }
                Section("Memory") {
                    ProgressView(value: studio.memory.share)
                    Text(studio.memory.words).font(.caption)
                }
            }
            .navigationTitle(studio.title)
        }
    }

    private func text(_ name: String) -> Binding<String> {
        Binding(get: { studio.given[name] ?? "" }, set: { studio.given[name] = $0 })
    }
}

/// Where it is, and what can be done now.
struct StateSection: View {
    let studio: Studio

    var body: some View {
        Section {
            switch studio.state {
            case .opening:
                ProgressView("Reading the plan")
            case .new:
                Text("Packages are compiled for this device once, smallest first. That can take minutes.")
                Button("Install") { studio.install() }
            case .installing(let chunk, let phase, let done, let count):
                ProgressView(value: Double(done), total: Double(max(1, count)))
                Text("\(chunk): \(phase), package \(done + 1) of \(count)").font(.caption)
                Button("Stop", role: .cancel) { studio.stop() }
            case .ready:
                if let seconds = studio.seconds { Text(String(format: "Made in %.1f s", seconds)) }
            case .running(let stage, let done, let count):
                ProgressView(value: Double(done), total: Double(max(1, count)))
                Text("\(stage), step \(done) of \(count)").font(.caption)
                Button("Stop", role: .cancel) { studio.stop() }
            case .failed(let message):
                Text(message).font(.callout)
                Button("Go back") { studio.dismiss() }
            }
            ForEach(studio.notes, id: \.self) { Text($0).font(.caption) }
        }
    }
}

/// One input of the plan.
struct InputRow: View {
    let input: Input
    @Binding var text: String
    @State private var isChoosing = false

    var body: some View {
        switch input.kind {
        case .text:
            TextField(input.name, text: $text, axis: .vertical)
        case .seed, .number:
            LabeledContent(input.name) {
                TextField(usual, text: $text)
                if input.kind == .seed { Button("Draw") { text = String(Seed.drawn(for: input)) } }
            }
        case .choice where !input.choices.isEmpty:
            Picker(input.name, selection: $text) {
                Text(usual).tag("")
                ForEach(input.choices, id: \.self) { Text($0).tag($0) }
            }
        case .choice:
            LabeledContent(input.name) { TextField(usual, text: $text) }
        case .image, .video, .audio, .tensor:
            LabeledContent(input.name) {
                Button(text.isEmpty ? "Choose a file" : URL(fileURLWithPath: text).lastPathComponent) {
                    isChoosing = true
                }
            }
            .fileImporter(isPresented: $isChoosing, allowedContentTypes: [.item]) { chosen in
                if let url = try? chosen.get() { text = copied(url) }
            }
        }
    }

    /// What it is where nothing is typed.
    private var usual: String { input.usual ?? "needed" }

    /// A file of another app may be read while it is asked for only.
    private func copied(_ url: URL) -> String {
        let isOpen = url.startAccessingSecurityScopedResource()
        defer { if isOpen { url.stopAccessingSecurityScopedResource() } }
        let place = FileManager.default.temporaryDirectory.appendingPathComponent(url.lastPathComponent)
        try? FileManager.default.removeItem(at: place)
        guard (try? FileManager.default.copyItem(at: url, to: place)) != nil else { return "" }
        return place.path
    }
}

/// What came out: shown where that can be, and shared.
struct ResultSection: View {
    let studio: Studio

    var body: some View {
        Section("Result") {
            ForEach(studio.texts, id: \.self) { Text($0).textSelection(.enabled) }
            ForEach(studio.made) { file in
                switch file.kind {
                case .video, .audio:
                    VideoPlayer(player: AVPlayer(url: file.url)).frame(minHeight: 240)
                case .image:
                    AsyncImage(url: file.url)
                case .text, .tensor:
                    Text(file.url.lastPathComponent)
                }
                ShareLink(item: file.url)
            }
        }
    }
}

/// Rows of 8-bit RGB as a picture.
struct PreviewImage: View {
    let preview: Preview

    var body: some View {
        if let image = preview.image {
            Image(decorative: image, scale: 1).resizable().aspectRatio(contentMode: .fit).frame(maxHeight: 320)
        }
    }
}
