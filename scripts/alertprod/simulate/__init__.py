"""A simulated survey: sky, telescope and camera, down to raw files in ADU.

It shares no code with the pipeline, so that nothing the pipeline gets wrong can be wrong here in
the same way. `api.simulate_detector` makes one exposure in memory; `survey` makes whole surveys.

==============  ==========================================================================
`camera`        reads the instrument YAML
`hardware`      what the YAML does not tell: throughput, bias structure, flat field, defects
`optics`        true pointing, distortion, point-spread function
`render`        photons of stars, galaxies and trails on the detector
`electronics`   cosmic rays, saturation, bleeding, read-out
`rawfile`       LSST-like multi-extension FITS
`sky`           stars, galaxies, the reference catalogue
`lightcurves`   variable stars and supernova-like transients
`movers`        asteroids on Keplerian orbits
`plan`          when the telescope points where, and in what weather
`truth`         what is on each image, and which asteroids can be found
`survey`        puts it together: one call per file-making job
==============  ==========================================================================
"""
