extension Codecs {
    /// Our own readers alone: PNG, PGM, PPM and .wav, everywhere.
    public static var own: Codecs {
        Codecs(pictures: [PNGDecoder(), PNMDecoder()], sounds: [WavReader()])
    }
}
