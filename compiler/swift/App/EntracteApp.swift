import SwiftUI

@main
struct EntracteApp: App {
    @State private var studio = Studio()

    var body: some Scene {
        WindowGroup {
            StudioView(studio: studio)
                .task { await studio.open() }
        }
    }
}
