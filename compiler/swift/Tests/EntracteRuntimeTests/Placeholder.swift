import Testing

@Test func vectorsAreThere() throws { #expect(Bool(true)) }
